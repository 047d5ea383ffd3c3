package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/weights/hub"
)

// fromHub is how a hub is asked, in the help of commands.
const fromHub = `HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to
huggingface_hub, whose cache this is.`

// namesHelp are the short names of models, for the help.
func namesHelp() string {
	var b strings.Builder
	for _, k := range hub.Names() {
		fmt.Fprintf(&b, "\n  %-10s  %s", k.Name, k.Repo)
	}
	return b.String()
}

// pulled are the repositories that arguments name; a set's name stands for its models.
func pulled(args []string) (repos []hub.Repo, err error) {
	for _, arg := range args {
		names := []string{arg}
		if set := hub.Set(arg); set != nil {
			names = slices.Sorted(maps.Values(set))
		}
		for _, n := range names {
			r, err := hub.Parse(n)
			if err != nil {
				return nil, usageError{err}
			}
			repos = append(repos, r)
		}
	}
	return repos, nil
}

// eachRepo does something with each repository that arguments name, up to the first error,
// and prints a line or an entry of JSON of each.
func (a *app) eachRepo(args []string, do func(*hub.Client, hub.Repo) (line string, entry any, err error)) error {
	repos, err := pulled(args)
	if err != nil {
		return err
	}
	client, err := hub.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	list := entries{a: a}
	for _, r := range repos {
		line, entry, err := do(client, r)
		if err != nil {
			return errors.Join(err, list.end())
		}
		if err := list.add(entry); err != nil {
			return err
		}
		if !a.json {
			fmt.Fprintln(a.out, line)
		}
	}
	return list.end()
}

func (a *app) pull() *cobra.Command {
	c := &cobra.Command{Use: "pull NAME…", Short: "Bring models from a hub", Args: cobra.MinimumNArgs(1),
		Example: "  parley pull paper\n  parley pull sd15 --variant fp16\n  parley pull openai/clip-vit-base-patch32@main\n" +
			"  parley pull stable-diffusion-v1-5/stable-diffusion-v1-5:v1-5-pruned-emaonly.safetensors",
		Long: `Brings the files that a model is opened from, and no others, into the cache that
huggingface_hub has, too; each is checked against the hub's hash. What an earlier
call has left unfinished is gone on with, what is there is not asked for again.
--models, --blip, --sd and --clip take the same names afterwards.

A name is OWNER/NAME[@REVISION][:FILE], or one of` + namesHelp() + `
  paper       blip-base, sd14 and clip-b32

` + fromHub + `
JSON: [{"repo", "dir", "commit", "files", "bytes"}].`}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.eachRepo(args, func(client *hub.Client, r hub.Repo) (string, any, error) {
			client.Progress = terminal.Bytes(a.errs, r.ID)
			p, err := client.Pull(cmd.Context(), r, a.variant)
			return p.Dir, struct {
				Repo string `json:"repo"`
				hub.Pulled
			}{r.String(), p}, err
		})
	}
	return c
}

func (a *app) list() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the models that were pulled", Args: cobra.NoArgs,
		Example: "  parley list",
		Long: `Lists what the hub's cache has of models that are read here.
` + fromHub + `
JSON: [{"name", "repo", "kind", "refs", "commit", "bytes", "changed", "dir"}].`}
	c.RunE = func(*cobra.Command, []string) error {
		client, err := hub.FromEnvironment(os.Getenv)
		if err != nil {
			return err
		}
		models, err := client.List()
		if err != nil {
			return err
		}
		if a.json {
			list := entries{a: a}
			for _, m := range models {
				if err := list.add(m); err != nil {
					return err
				}
			}
			return list.end()
		}
		if len(models) == 0 {
			a.note("no model was pulled; parley pull --help names some")
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		for _, m := range models {
			ref := m.Commit[:min(12, len(m.Commit))]
			if len(m.Refs) > 0 {
				ref = strings.Join(m.Refs, ", ")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.2f GB\n", m.Kind, m.Name, terminal.Plain(m.Repo), terminal.Plain(ref), float64(m.Bytes)/1e9)
		}
		return w.Flush()
	}
	return c
}

func (a *app) rm() *cobra.Command {
	c := &cobra.Command{Use: "rm NAME…", Short: "Remove models that were pulled", Args: cobra.MinimumNArgs(1),
		Example: "  parley rm sd14\n  parley rm openai/clip-vit-base-patch32@main",
		Long: `Removes a revision (main) of a model from the hub's cache, with the files that no
other revision of it has.
` + fromHub + `
JSON: [{"repo", "freed"}], in bytes.`}
	c.RunE = func(_ *cobra.Command, args []string) error {
		return a.eachRepo(args, func(client *hub.Client, r hub.Repo) (string, any, error) {
			if r.File != "" {
				return "", nil, usage("%s: a model is removed whole", r)
			}
			freed, err := client.Remove(r)
			return fmt.Sprintf("%s: %.2f GB freed", r, float64(freed)/1e9), map[string]any{"repo": r.String(), "freed": freed}, err
		})
	}
	return c
}

// found is the path of a checkpoint: as it stands, or of a model that was pulled.
func found(name string) (string, error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return name, nil
	}
	r, err := hub.Parse(filepath.ToSlash(name))
	if err != nil {
		return name, nil // opening it says that it is not there
	}
	client, err := hub.FromEnvironment(os.Getenv)
	if err != nil {
		return "", err
	}
	path, err := client.Local(r)
	var missing *hub.NotHereError
	if errors.As(err, &missing) {
		return "", fmt.Errorf("there is no file or folder %s; if a model of a hub is meant: parley pull %s", name, name)
	}
	return path, err
}
