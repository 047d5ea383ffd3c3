package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"parley/weights/vocab"
)

func (a *app) tokenize() *cobra.Command {
	var bert, clip bool
	var length int
	c := &cobra.Command{Use: "tokenize --clip|--bert TEXT…", Short: "Show how texts become ids",
		Example: "  parley tokenize --clip \"a cat\"\n  printf 'a cat\\na dog\\n' | parley tokenize --bert --json",
		Long: `Texts are arguments, or lines of the standard input. JSON: [{"text", "ids", "tokens", "lost"}], lost where --length cuts.
Without --models the tokens are OpenAI CLIP's and bert-base-uncased's.`}
	c.Flags().BoolVar(&bert, "bert", false, "BERT's tokens, of BLIP")
	c.Flags().IntVar(&length, "length", 0, "with --clip: cut or pad to so many ids")
	// Here --clip is a choice; elsewhere it names a model.
	c.Flags().BoolVar(&clip, "clip", false, "CLIP's tokens")
	addClean(a, c)
	c.RunE = func(cmd *cobra.Command, lines []string) error {
		if bert == clip {
			return usage("tokenize: choose --clip or --bert")
		}
		if length < 0 || length == 1 || length > 1<<16 {
			return usage("--length %d: want 0, or 2 and more", length)
		}
		if bert && length > 0 {
			return usage("--length: only with --clip")
		}
		if err := a.checkClean(); err != nil {
			return err
		}
		if bert && a.clean != "" {
			return usage("--clean: only with --clip")
		}
		if len(lines) == 0 {
			s := bufio.NewScanner(cmd.InOrStdin())
			s.Buffer(nil, 1<<26)
			for s.Scan() {
				lines = append(lines, s.Text())
			}
			if err := s.Err(); err != nil {
				return err
			}
		}
		type entry struct {
			Text   string   `json:"text"`
			IDs    []int32  `json:"ids"`
			Tokens []string `json:"tokens"`
			Lost   string   `json:"lost,omitempty"`
		}
		out := []entry{}
		if bert {
			t, err := a.bertTokenizer()
			if err != nil {
				return err
			}
			for _, l := range lines {
				out = append(out, entry{l, t.Encode(l), t.Tokens(l), ""})
			}
		} else {
			t, err := a.clipTokenizer()
			if err != nil {
				return err
			}
			for _, l := range lines {
				e, err := t.Tokenize(cmd.Context(), l, length)
				if err != nil {
					return err
				}
				out = append(out, entry{l, e.IDs, t.Tokens(l), e.Lost()})
			}
		}
		if a.json {
			return a.print(out)
		}
		for _, e := range out {
			fmt.Fprintf(a.out, "%q\n  %s\n  %v\n", e.Text, strings.Join(e.Tokens, " "), e.IDs)
		}
		return nil
	}
	return c
}

func (a *app) bertTokenizer() (*vocab.BERT, error) {
	if a.models == "" && a.blip == "" {
		return vocab.DefaultBERT()
	}
	dir := a.blip
	if dir == "" {
		dir = filepath.Join(a.models, "blip")
	}
	return vocab.LoadBERT(os.DirFS(dir), ".")
}

func (a *app) clipTokenizer() (*vocab.CLIP, error) {
	t, err := vocab.DefaultCLIP(vocab.PadCLIP)
	if a.models != "" {
		t, err = vocab.LoadCLIP(os.DirFS(filepath.Join(a.models, "clip")), ".")
	}
	if err != nil || a.clean == "" {
		return t, err
	}
	return t.Cleaned(a.clean)
}
