package serve

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/device"
)

// TestPage: in a browser, on a desk and on a phone, a picture and a text are reconstructed
// and several pictures described. PARLEY_SCREENSHOTS=DIR keeps what it looks like, and
// PARLEY_AXE=axe.min.js (of npm's axe-core, `make clients`) looks for what keeps people out.
func TestPage(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		t.Skip("there is no Chromium here")
	}
	w := newWorld(t, nil)
	dir := t.TempDir()
	var files []string
	for i, n := range []int{7, 12, 31} {
		png, _ := scene(t, n)
		files = append(files, filepath.Join(dir, []string{"first.png", "second.png", "third.png"}[i]))
		if err := os.WriteFile(files[i], png, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), flags...)
	defer cancel()
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {})) // events of a newer browser
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	axe := []byte(nil)
	if file := os.Getenv("PARLEY_AXE"); file != "" {
		var err error
		if axe, err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	// check asks axe-core for violations of WCAG and good practice.
	check := func(ctx context.Context, name string) error {
		if axe == nil {
			return nil
		}
		var found []string
		err := chromedp.Run(ctx, chromedp.Evaluate(string(axe)+`;0`, nil), chromedp.Evaluate(
			`axe.run().then(r => r.violations.map(v => v.id + ': ' + v.help + ': ' + v.nodes.map(n => n.target.join(' ') + ' ' +
				n.failureSummary).join('; ')))`,
			&found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
		for _, v := range found {
			t.Errorf("%s: %s", name, v)
		}
		return err
	}
	shot := func(name string) chromedp.Action {
		return chromedp.ActionFunc(func(ctx context.Context) error {
			if err := check(ctx, name); err != nil {
				return err
			}
			to := os.Getenv("PARLEY_SCREENSHOTS")
			if to == "" {
				return nil
			}
			var data []byte
			if err := chromedp.FullScreenshot(&data, 100).Do(ctx); err != nil {
				return err
			}
			if err := os.MkdirAll(to, 0o777); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, name+".png"), data, 0o666)
		})
	}
	var status, text, many, csv string
	var chosen, textChosen, lines, board, again int
	js := func(code string, v any) chromedp.Action { return chromedp.Evaluate(code, v) }
	// until waits for a status.
	until := func(section, part string) chromedp.Action {
		return chromedp.Poll(`document.querySelector('#`+section+` .status').textContent.includes('`+part+`')`, nil,
			chromedp.WithPollingTimeout(90*time.Second))
	}
	err := chromedp.Run(ctx,
		chromedp.Navigate(w.URL),
		chromedp.SetUploadFiles("#image-file", files[:1], chromedp.ByQuery),
		chromedp.SetValue("#image-k", "4", chromedp.ByQuery),
		chromedp.SetValue("#image-seed", "1", chromedp.ByQuery),
		chromedp.WaitVisible("#image-shown", chromedp.ByQuery),
		chromedp.Click("#image .go", chromedp.ByQuery),
		chromedp.WaitVisible("#image .card img.early", chromedp.ByQuery),
		shot("page-during"),
		until("image", "Chosen"),
		chromedp.Text("#image .status", &status, chromedp.ByQuery),
		js(`document.querySelectorAll('#image .card.chosen').length`, &chosen),
		shot("page"),
		js(`document.querySelector('body').dispatchEvent(new KeyboardEvent('keydown', {key: '2', bubbles: true})), 0`, nil),
		chromedp.SendKeys("#text-text", "two red apples on the grass", chromedp.ByQuery),
		chromedp.SetValue("#text-k", "4", chromedp.ByQuery),
		chromedp.Click("#text .go", chromedp.ByQuery),
		until("text", "Chosen"),
		chromedp.Text("#text .status", &text, chromedp.ByQuery),
		js(`document.querySelectorAll('#text .card.chosen').length`, &textChosen),
		js(`document.querySelectorAll('#board li').length`, &board),
		chromedp.Click("#tab-many", chromedp.ByQuery),
		chromedp.SetUploadFiles("#many-files", files, chromedp.ByQuery),
		chromedp.SendKeys("#many-text", "a cat", chromedp.ByQuery),
		chromedp.Click("#many .go", chromedp.ByQuery),
		until("many", "described"),
		chromedp.Text("#many .status", &many, chromedp.ByQuery),
		js(`document.querySelectorAll('#many tbody tr').length`, &lines),
		js(`document.querySelector('#many tbody').innerText`, &csv),
		shot("page-many"),
		chromedp.Navigate(w.URL),
		chromedp.WaitVisible("#board button", chromedp.ByQuery),
		js(`document.querySelectorAll('#board li').length`, &again),
		chromedp.Click("#board button", chromedp.ByQuery),
		chromedp.WaitVisible("#text .card.chosen", chromedp.ByQuery),
		chromedp.Emulate(device.IPhoneSE),
		chromedp.Click("#tab-text", chromedp.ByQuery),
		shot("page-phone"),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}),
		shot("page-phone-dark"),
		chromedp.Emulate(device.Reset),
		chromedp.EmulateViewport(1280, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}),
		shot("page-dark"),
	)
	if err != nil {
		t.Fatalf("%v; the page says %q, %q, %q", err, status, text, many)
	}
	if chosen != 1 || textChosen != 1 || board != 2 || again != 2 || lines != 3 || !inOrder(csv, "first.png", "second.png", "third.png") ||
		many != "3 of 3 described." {
		t.Errorf("%d and %d chosen, %d on the board, %d lines, %q: %q", chosen, textChosen, board, lines, csv, many)
	}
}

// inOrder reports whether a text has all parts, one after another.
func inOrder(text string, parts ...string) bool {
	for _, p := range parts {
		_, rest, ok := strings.Cut(text, p)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}
