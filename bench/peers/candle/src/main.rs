//! Runs one of peers.py's works by candle, as `peers.py --worker` does by the others.
//!
//!     candle-peer WORK DATA OUT.npy RUNS
//!
//! Reads the model and DATA/io/WORK.safetensors, runs once to warm up and RUNS times for the
//! clock, writes the output, and prints {"seconds": [...], "first_s": ...}.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Activation, Module, VarBuilder};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use candle_transformers::models::{blip, blip_text, clip, stable_diffusion};
use stable_diffusion::StableDiffusionConfig;
use std::{collections::HashMap, time::Instant};

/// A net on its inputs, ready to run.
type Run = Box<dyn FnMut() -> Result<Tensor>>;

fn weights(path: String) -> Result<VarBuilder<'static>> {
    unsafe { VarBuilder::from_mmaped_safetensors(&[path], DType::F32, &Device::Cpu) }
}

fn blip_base(data: &str) -> Result<blip::BlipForConditionalGeneration> {
    let large = blip::Config::image_captioning_large();
    let base = blip::Config {
        text_config: blip_text::Config { encoder_hidden_size: 768, ..large.text_config },
        vision_config: blip::VisionConfig {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            hidden_act: Activation::Gelu,
            ..large.vision_config
        },
        ..large
    };
    // The file has a weight once that two layers share.
    let tied = |name: &str| match name.strip_prefix("text_decoder.cls.predictions.decoder.") {
        Some("weight") => "text_decoder.bert.embeddings.word_embeddings.weight".to_string(),
        Some(_) => "text_decoder.cls.predictions.bias".to_string(),
        None => name.to_string(),
    };
    blip::BlipForConditionalGeneration::new(&base, weights(format!("{data}/blip/model.safetensors"))?.rename_f(tied))
}

/// Ten captions of 20 ids by nucleus sampling over cached keys and values, one after
/// another, as candle's decoder takes no batch.
fn captions(net: &mut blip::BlipForConditionalGeneration, pixels: &Tensor) -> Result<Tensor> {
    let image = net.vision_model().forward(pixels)?;
    let mut choose = LogitsProcessor::from_sampling(7, Sampling::TopP { p: 0.9, temperature: 1.0 });
    let mut ids = vec![];
    for _ in 0..10 {
        net.reset_kv_cache();
        let mut id = 30522u32;
        for _ in 1..20 {
            let logits = net.text_decoder().forward(&Tensor::new(&[[id]], &Device::Cpu)?, &image)?;
            id = choose.sample(&logits.get(0)?.get(0)?)?;
            ids.push(id as f32);
        }
    }
    Tensor::from_vec(ids, (10, 19), &Device::Cpu)
}

fn open(work: &str, data: &str) -> Result<Run> {
    let mut x: HashMap<String, Tensor> = candle_core::safetensors::load(format!("{data}/io/{work}.safetensors"), &Device::Cpu)?;
    let mut input = |name: &str| x.remove(name).unwrap_or_else(|| panic!("{work} has no input {name}"));
    let sd = StableDiffusionConfig::v1_5(None, None, None);
    Ok(if work.starts_with("unet") {
        let net = sd.build_unet(format!("{data}/sd/unet/diffusion_pytorch_model.safetensors"), &Device::Cpu, 4, false, DType::F32)?;
        let (latents, texts) = (input("sample"), input("encoder_hidden_states"));
        let pair = Tensor::cat(&[&latents, &latents], 0)?; // guided: the same latents with two texts
        Box::new(move || net.forward(&pair, 501.0, &texts))
    } else if work.starts_with("vae") {
        let net = sd.build_vae(format!("{data}/sd/vae/diffusion_pytorch_model.safetensors"), &Device::Cpu, DType::F32)?;
        let latents = input("latents");
        Box::new(move || net.decode(&latents))
    } else if work.starts_with("clip") {
        let net = clip::ClipModel::new(weights(format!("{data}/clip/model.safetensors"))?, &clip::ClipConfig::vit_base_patch32())?;
        if work.starts_with("clip-images") {
            let pixels = input("pixel_values");
            Box::new(move || clip::div_l2_norm(&net.get_image_features(&pixels)?))
        } else {
            let ids = input("input_ids").to_dtype(DType::U32)?;
            Box::new(move || clip::div_l2_norm(&net.get_text_features(&ids)?))
        }
    } else {
        let mut net = blip_base(data)?;
        let pixels = input("pixel_values");
        if work == "captions-10" {
            Box::new(move || captions(&mut net, &pixels))
        } else {
            Box::new(move || net.vision_model().forward(&pixels))
        }
    })
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, work, data, out, runs] = args.as_slice() else { panic!("candle-peer WORK DATA OUT.npy RUNS") };
    let start = Instant::now();
    let mut run = open(work, data)?;
    let y = run()?;
    let first = start.elapsed().as_secs_f64();
    let mut seconds = vec![];
    for _ in 0..runs.parse().expect("RUNS is a number") {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    y.write_npy(out)?;
    println!("{{\"seconds\": {seconds:?}, \"first_s\": {first}}}");
    Ok(())
}
