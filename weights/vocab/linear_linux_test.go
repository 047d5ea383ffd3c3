package vocab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// fastest is the least time that two tries took of a processor, which work
// beside them does not lengthen much.
func fastest(t *testing.T, work func() error) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(1, &u); err != nil { // RUSAGE_THREAD
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	best := time.Hour
	for range 2 {
		start := now()
		if err := work(); err != nil {
			t.Fatal(err)
		}
		best = min(best, now()-start)
	}
	return best
}

// linear fails where four times the work takes more than nine times as long: a
// quadratic step would take sixteen.
func linear(t *testing.T, name string, work func(size int) func() error, size int) {
	t.Helper()
	small, large := fastest(t, work(size)), fastest(t, work(4*size))
	if large > 9*small+40*time.Millisecond { // the clock may tick every 10 ms
		t.Errorf("%s: %v at %d and %v at %d, want four times as long", name, small, size, large, 4*size)
	}
}

var longTexts = map[string]string{
	"one letter": "a", "one word": "abcxyzthe", "words": "cat ", "long words": strings.Repeat("z", 99) + " ", "digits": "7",
	"punctuation": "!?",
	"marks":       "\u0301\u0323\u0307\u05b0", "marks of a letter": "\u0344",
	"mixed scripts": "aяשあ漢ก한", "hangul": "\u1100\u1161\u11a8",
	"emoji": "👩\u200d👧", "spaces": " ", "wide spaces": "\u3000", "controls": "\x01", "bad UTF-8": "\xffa",
	"apostrophes": "'", "less": "<",
	"tokens": "<|endoftext|>[SEP]", "a token's beginning": "<|endoftext|",
}

func TestLinearInTheText(t *testing.T) {
	c, b := both(t)
	for name, part := range longTexts {
		for _, length := range []int{0, 77} {
			linear(t, fmt.Sprintf("CLIP, %s, length %d", name, length), func(size int) func() error {
				text := strings.Repeat(part, size/len(part))
				return func() error { _, err := c.Tokenize(t.Context(), text, length); return err }
			}, 1<<14)
		}
		linear(t, "BERT, "+name, func(size int) func() error {
			text := strings.Repeat(part, size/len(part))
			return func() error { _, err := b.Tokenize(t.Context(), text, 0); return err }
		}, 1<<14)
	}
}

// withTokens is a vocabulary with n added tokens.
func withTokens(n int, text func(i int) string) fstest.MapFS {
	added := make([]map[string]any, n)
	for i := range added {
		added[i] = map[string]any{"id": 3 + i, "content": text(i), "special": i%2 == 0,
			"normalized": i%3 == 0, "rstrip": i%5 == 0, "lstrip": i%7 == 0}
	}
	words := map[string]int{"a</w>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
	data, err := json.Marshal(map[string]any{
		"model": map[string]any{"type": "BPE", "vocab": words, "merges": []string{}}, "added_tokens": added})
	if err != nil {
		panic(err)
	}
	return fstest.MapFS{"tokenizer.json": {Data: data}}
}

func TestLinearInTheAddedTokens(t *testing.T) {
	for name, text := range map[string]func(int) string{
		"numbers": func(i int) string { return fmt.Sprintf("<%d>", i) },
		"nested":  func(i int) string { return strings.Repeat("x", 1+i%200) + fmt.Sprint(i/200) },
		"spaces":  func(i int) string { return " " + strings.Repeat("\u3000", i%50) + fmt.Sprint(i/50) },
	} {
		linear(t, name, func(size int) func() error {
			fsys := withTokens(size, text)
			var prompt strings.Builder
			for i := range size {
				prompt.WriteString(text(i))
			}
			return func() error {
				c, err := LoadCLIP(fsys, ".")
				if err != nil {
					return err
				}
				e, err := c.Tokenize(t.Context(), prompt.String(), 0)
				if err == nil && e.Tokens < size/4 {
					err = fmt.Errorf("%d tokens of %d", e.Tokens, size)
				}
				return err
			}
		}, 12_500)
	}
}

// TestLinearInAToken: a token that nearly matches everywhere.
func TestLinearInAToken(t *testing.T) {
	linear(t, "near", func(size int) func() error {
		long := strings.Repeat("x", size) + "y"
		c, err := LoadCLIP(withTokens(2, func(i int) string { return []string{"x", long}[i] }), ".")
		if err != nil {
			t.Fatal(err)
		}
		return func() error { _, err := c.Tokenize(t.Context(), strings.Repeat("x", size), 77); return err }
	}, 1<<16)
}

func TestTokenizeStops(t *testing.T) {
	c, b := both(t)
	for name, part := range longTexts {
		text := strings.Repeat(part, 1<<24/len(part)) // seconds of work
		for k, tokenize := range []func(context.Context, string, int) (*Encoding, error){c.Tokenize, b.Tokenize} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			start := time.Now()
			_, err := tokenize(ctx, text, 0)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s, %d: error %v", name, k, err)
			}
			if d := time.Since(start); d > 4*time.Second { // of a machine that is busy
				t.Errorf("%s, %d: stopped after %v", name, k, d)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Tokenize(ctx, "a cat", 77); !errors.Is(err, context.Canceled) {
		t.Errorf("done before it began: error %v", err)
	}
}
