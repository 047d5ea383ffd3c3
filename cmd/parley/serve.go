package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/serve"
	"parley/cmd/serve/jobs"
	"parley/cmd/serve/work"
	"parley/nets/models"
)

// serveFlags are the options of the server.
type serveFlags struct {
	listen, keyFile                                string
	origins                                        []string
	body, pixels, text, n, steps, waiting, batched int
	deadline, grace                                time.Duration
	jobs                                           string
	kept                                           int
}

func (a *app) serve() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{Use: "serve", Short: "Answer requests over HTTP, with a page", Args: cobra.NoArgs,
		Example: "  parley serve\n  parley serve --models paper --listen 0.0.0.0:8080 --key-file key.txt",
		Long: `Loads the models once and answers clients that people already have, on one address:

  OpenAI           /v1/images/generations, edits, variations; /v1/embeddings; /v1/models
  AUTOMATIC1111    /sdapi/v1/txt2img, img2img, interrogate, progress, interrupt, …
  Immich           /ping, /predict (CLIP)
  Parley           /v1/caption, /v1/score, /v1/reconstruct (events as candidates are scored),
                   /v1/jobs
  operations       /healthz, /readyz, /metrics (Prometheus)

and shows both reconstructions on a page at /. Requests of one size are drawn as one
batch, which others join between two steps, whoever they come from; clients take turns. A
full queue answers 429, what no memory has room for 413, and who leaves ends their
drawing. With the header "Prefer: respond-async" a request of /v1 is a job, whose result
/v1/jobs has.

Beyond this machine a key is wanted, from --key-file or PARLEY_API_KEY; clients show it
as "Authorization: Bearer KEY" or as the password of HTTP Basic.`}
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address and port")
	fl.StringVar(&f.keyFile, "key-file", "", "file with the API key (PARLEY_API_KEY)")
	fl.StringArrayVar(&f.origins, "cors", nil, "other pages that may call, such as https://example.org; * is any; may be repeated")
	fl.IntVar(&f.body, "max-body", 32, "MiB of a request")
	fl.IntVar(&f.pixels, "max-pixels", 16<<20, "pixels of a picture that is sent or drawn")
	fl.IntVar(&f.text, "max-prompt", 16<<10, "bytes of a prompt")
	fl.IntVar(&f.n, "max-n", 16, "drawings, captions or candidates of a request")
	fl.IntVar(&f.steps, "max-steps", 200, "denoising steps of a drawing")
	fl.IntVar(&f.waiting, "queue", 256, "jobs that may wait, of each kind")
	fl.IntVar(&f.batched, "batch", 8, "drawings that are made at once")
	fl.StringVar(&f.jobs, "jobs", "", "file that keeps jobs when the server is stopped (they are kept in memory)")
	fl.IntVar(&f.kept, "keep-jobs", 200, "jobs that are kept, the newest")
	fl.DurationVar(&f.deadline, "deadline", 15*time.Minute, "how long a request may take")
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long to finish what runs when the server is stopped")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		key, err := f.key()
		if err != nil {
			return err
		}
		if f.deadline <= 0 || f.grace < 0 {
			return usage("--deadline and --grace: want a time such as 90s")
		}
		for _, o := range f.origins {
			if o != "*" && http.NewCrossOriginProtection().AddTrustedOrigin(o) != nil {
				return usage("--cors %s: want an origin such as https://example.org, or *", o)
			}
		}
		if err := wantsKey(f.listen, key); err != nil {
			return err
		}
		ln, err := net.Listen("tcp", f.listen) // before minutes of loading
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		defer ln.Close()
		kept, err := jobs.Open(f.jobs, f.kept)
		if err != nil {
			return fmt.Errorf("--jobs: %w", err)
		}
		defer kept.Close()
		m, err := a.serveModels()
		if err != nil {
			return err
		}
		defer m.Close()
		s := serve.New(serve.Options{Key: key, Origins: f.origins, Body: int64(f.body) << 20, Pixels: f.pixels, Text: f.text, N: f.n,
			Steps:    f.steps,
			Deadline: f.deadline, Version: version(), Names: a.serveNames(), Log: log.New(a.errs, "parley: ", 0), Jobs: kept},
			func(w work.Watcher) *work.Scheduler {
				return work.New(m, work.Limits{Waiting: f.waiting, Batch: f.batched}, w)
			})
		patient(cmd.Context(), f.grace+3*time.Second)
		fmt.Fprintf(a.out, "http://%s\n", ln.Addr())
		return f.run(cmd.Context(), ln, s, a.note)
	}
	return c
}

// key is what clients have to show.
func (f *serveFlags) key() (string, error) {
	if f.keyFile == "" {
		return strings.TrimSpace(os.Getenv("PARLEY_API_KEY")), nil
	}
	b, err := os.ReadFile(f.keyFile)
	if err != nil {
		return "", fmt.Errorf("--key-file: %w", err)
	}
	if key := strings.TrimSpace(string(b)); key != "" {
		return key, nil
	}
	return "", fmt.Errorf("--key-file: %s is empty", f.keyFile)
}

// wantsKey refuses to listen beyond this machine without a key.
func wantsKey(listen, key string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return usage("--listen %s: want HOST:PORT", listen)
	}
	if ip := net.ParseIP(host); key != "" || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return usage("--listen %s is open to other machines: set an API key with --key-file FILE or PARLEY_API_KEY", listen)
}

// serveModels opens all that a server answers with.
func (a *app) serveModels() (m work.Models, err error) {
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if m.BLIP, err = a.openBLIP(); err != nil {
		return m, err
	}
	if m.SD, err = a.openSD(models.Extras{}); err != nil {
		return m, err
	}
	if m.CLIP, err = a.openCLIP(); err != nil {
		return m, err
	}
	m.Device = a.dev
	return m, m.CLIP.Ready(true, true)
}

// serveNames are what clients call the models: the last part of what the flags say.
func (a *app) serveNames() serve.Names {
	name := func(model, own string) string {
		_, path := a.named(model, own)
		if path == "" {
			return "mini-" + model
		}
		base := filepath.Base(path)
		return strings.TrimSuffix(base, filepath.Ext(base))
	}
	n := serve.Names{SD: name("sd", a.sd), BLIP: name("blip", a.blip), CLIP: name("clip", a.clip)}
	return n
}

// run serves until the context ends, then finishes what runs.
func (f *serveFlags) run(ctx context.Context, ln net.Listener, s *serve.Server, note func(string)) error {
	// Work outlives the signal by the time of grace.
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	h := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return base }, ErrorLog: log.New(nowhere{}, "", 0)}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(base, f.grace)
	defer stop()
	err := errors.Join(s.Close(grace), h.Shutdown(grace))
	if err != nil { // who waits still is told why
		end(work.ErrClosed)
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer stop()
		_ = errors.Join(s.Close(last), h.Shutdown(last), h.Close()) // err says what there is to say
	}
	if errors.Is(err, context.DeadlineExceeded) {
		note(fmt.Sprintf("requests that took longer than %v were ended", f.grace))
	}
	<-ended // http.ErrServerClosed
	return err
}

// nowhere is where net/http tells of clients that broke off.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
