package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"parley/weights/convert"
)

func (a *app) convert() *cobra.Command {
	var dtype string
	c := &cobra.Command{Use: "convert SRC DST", Short: "Write a checkpoint in Hugging Face's layout", Args: cobra.ExactArgs(2),
		Example: "  parley convert v1-5-pruned.ckpt sd15 --dtype f16\n  parley convert model_base_caption_capfilt_large.pth blip",
		Long: `Reads a file or folder in any known layout (Hugging Face, ldm single files,
Salesforce's BLIP, OpenAI's CLIP, open_clip; safetensors or torch pickles, which
are never executed) and writes a folder of safetensors with config.json. The
folder appears complete or not at all; the same source gives the same bytes.

A single file of Stable Diffusion 2 does not say whether its UNet predicts v or
noise. v is taken, at 768 pixels, unless the step of its training tells a base
model; --prediction epsilon says that it is one.`}
	a.addPrediction(c)
	c.Flags().StringVar(&dtype, "dtype", "", "f32, f16 or bf16 (each tensor its own)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		src, err := found(args[0])
		if err != nil {
			return err
		}
		err = convert.Convert(cmd.Context(), src, args[1], convert.Options{DType: dtype,
			Assume: a.assume, Variant: a.variant, Note: a.note})
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already: name a new folder", args[1])
		}
		if err != nil {
			return err
		}
		if a.json {
			return a.print(map[string]string{"source": args[0], "folder": args[1]})
		}
		fmt.Fprintln(a.out, args[1])
		return nil
	}
	return c
}
