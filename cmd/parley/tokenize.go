package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
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
		if bert && length > 0 {
			return usage("--length: only with --clip")
		}
		type entry struct {
			Text   string   `json:"text"`
			IDs    []int32  `json:"ids"`
			Tokens []string `json:"tokens"`
			Lost   string   `json:"lost,omitempty"`
		}
		if bert && a.clean != "" {
			return usage("--clean: only with --clip")
		}
		encode, err := a.encoder(bert, length)
		if err != nil {
			return err
		}
		out := entries{a: a}
		add := func(text string) error {
			e := entry{Text: text}
			var err error
			if e.IDs, e.Tokens, e.Lost, err = encode(cmd.Context(), text); err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintf(a.out, "%q\n  %s\n  %v\n", e.Text, strings.Join(e.Tokens, " "), e.IDs)
			}
			return cmp.Or(out.add(e), cmd.Context().Err())
		}
		for _, l := range lines {
			if err := add(l); err != nil {
				return errors.Join(out.end(), err)
			}
		}
		if len(lines) > 0 {
			return out.end()
		}
		s := bufio.NewScanner(cmd.InOrStdin())
		s.Buffer(nil, 1<<26)
		for s.Scan() {
			if err = add(s.Text()); err != nil {
				break
			}
		}
		return errors.Join(out.end(), cmp.Or(err, s.Err()))
	}
	return c
}

// encoder gives the ids and the tokens of texts, and the end that was cut.
func (a *app) encoder(bert bool, length int) (func(context.Context, string) ([]int32, []string, string, error), error) {
	if bert {
		t, err := a.bertTokenizer()
		return func(_ context.Context, s string) ([]int32, []string, string, error) {
			return t.Encode(s), t.Tokens(s), "", nil
		}, err
	}
	t, err := a.clipTokenizer()
	return func(ctx context.Context, s string) ([]int32, []string, string, error) {
		e, err := t.Tokenize(ctx, s, length)
		if err != nil {
			return nil, nil, "", err
		}
		return e.IDs, t.Tokens(s), e.Lost(), nil
	}, err
}

func (a *app) bertTokenizer() (*vocab.BERT, error) {
	flag, name := a.named("blip", a.blip)
	if name == "" {
		return vocab.DefaultBERT()
	}
	dir, err := a.folder(flag, name)
	if err != nil {
		return nil, err
	}
	return vocab.LoadBERT(os.DirFS(dir), ".")
}

func (a *app) clipTokenizer() (*vocab.CLIP, error) {
	t, err := vocab.DefaultCLIP(vocab.PadCLIP)
	if flag, name := a.named("clip", ""); name != "" {
		var dir string
		if dir, err = a.folder(flag, name); err == nil {
			t, err = vocab.LoadCLIP(os.DirFS(dir), ".")
		}
	}
	if err != nil || a.clean == "" {
		return t, err
	}
	return t.Cleaned(a.clean)
}
