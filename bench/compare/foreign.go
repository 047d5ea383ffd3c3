package compare

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"parley/bench/columns"
	"parley/bench/layers"
)

// Profile is what another program's profiler says of a pass: seconds by the path of
// a module, in Hugging Face's names where it has them, each without the modules
// within.
type Profile struct {
	Program string
	Passes  int
	Own     map[string]float64
	// tree is of vLLM, whose modules are classes with the shapes of their weights.
	tree []vllmNode
}

// ReadProfile reads a trace of PyTorch's profiler whose modules are annotated with
// their names, a profile of ONNX Runtime, or vLLM's layerwise profile, compressed or not. Which
// it is, the file tells.
func ReadProfile(path string) (*Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	var data []byte
	from, err := unpacked(f)
	if err == nil {
		data, err = io.ReadAll(from)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p, err := ParseProfile(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// traced is an event of PyTorch's and of ONNX Runtime's traces, in microseconds.
type traced struct {
	Cat, Name, Ph string
	TS, Dur       float64
	PID, TID      any
}

// ParseProfile is ReadProfile of a file's bytes.
func ParseProfile(data []byte) (*Profile, error) {
	unknown := errors.New("no trace of PyTorch's profiler, no profile of ONNX Runtime, no layerwise profile of vLLM")
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		var events []traced
		if err := json.Unmarshal(data, &events); err != nil {
			return nil, fmt.Errorf("%w: %w", unknown, err)
		}
		return onnx(events)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, fmt.Errorf("%w: %w", unknown, err)
	}
	if raw, ok := parts["traceEvents"]; ok {
		var events []traced
		if err := json.Unmarshal(raw, &events); err != nil {
			return nil, fmt.Errorf("%w: %w", unknown, err)
		}
		return torch(events)
	}
	if _, ok := parts["model_stats"]; !ok { // of several phases: the first pass
		for _, phase := range []string{"prefill", "decode_1"} {
			if raw, ok := parts[phase]; ok {
				if err := json.Unmarshal(raw, &parts); err != nil {
					return nil, fmt.Errorf("%w: %w", unknown, err)
				}
				break
			}
		}
	}
	if raw, ok := parts["model_stats"]; ok {
		var roots []vllmNode
		if err := json.Unmarshal(raw, &roots); err != nil {
			return nil, fmt.Errorf("%w: %w", unknown, err)
		}
		return vllm(roots)
	}
	return nil, unknown
}

// modulePath is what a module of Hugging Face's is called.
var modulePath = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$`)

// torch adds up annotations (torch.profiler.record_function) whose names are paths of
// modules: the device's, where there are some, and the host's otherwise. What lies
// within another is taken from it.
func torch(events []traced) (*Profile, error) {
	p := &Profile{Program: "PyTorch", Own: map[string]float64{}, Passes: 1}
	var list []traced
	for _, cat := range []string{"gpu_user_annotation", "user_annotation"} {
		for _, e := range events {
			if e.Cat == cat && e.Ph == "X" && modulePath.MatchString(e.Name) {
				list = append(list, e)
			}
		}
		if list != nil {
			break
		}
	}
	if list == nil {
		return nil, errors.New("the trace of PyTorch's profiler has no annotations with modules' names: " +
			"bench/compare/testdata/traces.py shows how they are made")
	}
	thread := func(e traced) string { return fmt.Sprint(e.PID, " ", e.TID) }
	slices.SortStableFunc(list, func(a, b traced) int {
		return cmp.Or(strings.Compare(thread(a), thread(b)), cmp.Compare(a.TS, b.TS), cmp.Compare(b.Dur, a.Dur))
	})
	calls := map[string]int{}
	var open []traced
	for _, e := range list {
		for len(open) > 0 && (thread(open[len(open)-1]) != thread(e) || e.TS >= open[len(open)-1].TS+open[len(open)-1].Dur) {
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			p.Own[open[len(open)-1].Name] -= e.Dur / 1e6
		}
		p.Own[e.Name] += e.Dur / 1e6
		calls[e.Name]++
		open = append(open, e)
	}
	p.Passes = slices.Min(slices.Collect(maps.Values(calls)))
	return p.perPass()
}

// onnx adds up the times of kernels. A node's name has the module's path before its
// operator: "/down_blocks.0/attentions.0/proj_in/Conv_kernel_time".
func onnx(events []traced) (*Profile, error) {
	p := &Profile{Program: "ONNX Runtime", Own: map[string]float64{}}
	for _, e := range events {
		if e.Cat == "Session" && e.Name == "model_run" {
			p.Passes++
		}
		name, ok := strings.CutSuffix(e.Name, "_kernel_time")
		if e.Cat != "Node" || !ok {
			continue
		}
		names := strings.Split(strings.Trim(name, "/"), "/")
		path := strings.Join(names[:len(names)-1], ".")
		if path == "" {
			path = names[0] // an operator of no module
		}
		p.Own[path] += e.Dur / 1e6
	}
	if len(p.Own) == 0 {
		return nil, errors.New("the JSON array has no kernels of ONNX Runtime's profile (enable_profiling)")
	}
	p.Passes = max(p.Passes, 1)
	return p.perPass()
}

func (p *Profile) perPass() (*Profile, error) {
	for path := range p.Own {
		p.Own[path] = max(0, p.Own[path]) / float64(p.Passes)
	}
	return p, nil
}

// Row is a part of a net in both.
type Row struct {
	Path   string  `json:"path"`
	Ours   float64 `json:"ours_seconds"`
	Theirs float64 `json:"theirs_seconds"`
	// Rest says that it is what is left of a module below which names differ: several
	// products that one of them does as one, or what lies between modules.
	Rest bool `json:"rest,omitempty"`
}

// module is a part of a net with the times of one side or both.
type module struct {
	own      [2]float64
	has      [2]bool
	children map[string]*module
}

func (m *module) at(path string) *module {
	if path == "" {
		return m
	}
	for name := range strings.SplitSeq(path, ".") {
		if m.children == nil {
			m.children = map[string]*module{}
		}
		if m.children[name] == nil {
			m.children[name] = &module{}
		}
		m = m.children[name]
	}
	return m
}

// settle says which sides a module is on, and what it takes on each with all within.
func (m *module) settle() (all [2]float64) {
	all = m.own
	for _, c := range m.children {
		sum := c.settle()
		for side := range 2 {
			all[side] += sum[side]
			m.has[side] = m.has[side] || c.has[side]
		}
	}
	return all
}

func (m *module) all() (all [2]float64) {
	all = m.own
	for _, c := range m.children {
		sum := c.all()
		all[0], all[1] = all[0]+sum[0], all[1]+sum[1]
	}
	return all
}

// rows are those of both sides below a path, and the rest of it.
func (m *module) rows(path string) (l []Row) {
	rest := m.own
	alone := true
	for _, name := range slices.Sorted(maps.Keys(m.children)) {
		c := m.children[name]
		if !c.has[0] || !c.has[1] {
			sum := c.all()
			rest[0], rest[1] = rest[0]+sum[0], rest[1]+sum[1]
			continue
		}
		alone = false
		l = append(l, c.rows(strings.TrimPrefix(path+"."+name, "."))...)
	}
	if rest != [2]float64{} {
		l = append(l, Row{Path: path, Ours: rest[0], Theirs: rest[1], Rest: !alone})
	}
	return l
}

// moduleOf is the module that a layer belongs to: its path without the operation and
// without what is joined to it.
func moduleOf(l layers.Layer) string {
	names := strings.Split(l.Path, ".")
	if l.Op != "" && names[len(names)-1] == l.Op {
		names = names[:len(names)-1]
	}
	for i, n := range names {
		names[i], _, _ = strings.Cut(n, "+")
	}
	return strings.Join(names, ".")
}

// deepest is how many names may stand above a net that another side does not have.
const deepest = 4

// below counts the paths below each prefix of a few names, and gives the names that follow
// on it.
func below(paths []string) (count map[string]int, names map[string]map[string]bool) {
	count, names = map[string]int{}, map[string]map[string]bool{}
	for _, path := range paths {
		prefix := ""
		for i, name := range strings.SplitN(path, ".", deepest+1) {
			if i == deepest {
				break
			}
			if names[prefix] == nil {
				names[prefix] = map[string]bool{}
			}
			count[prefix]++
			names[prefix][name] = true
			prefix += name + "."
		}
	}
	return count, names
}

// above finds the names above the net on either side without which the most paths of ours
// are theirs: "unet." of an exported pipeline, or "vision_model." where the tower was traced
// for itself. Ours are above half of our paths at least.
func above(ours, theirs []string) (ourPrefix, theirPrefix string) {
	has := map[string]bool{}
	for _, path := range theirs {
		for i, c := range path + "." {
			if c == '.' {
				has[path[:i]] = true
			}
		}
	}
	count, ourNames := below(ours)
	_, theirNames := below(theirs)
	inOrder := func(m map[string]map[string]bool) []string {
		return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	}
	most := 0
	for _, a := range inOrder(ourNames) {
		if 2*count[a] < len(ours) {
			continue
		}
		for _, b := range inOrder(theirNames) {
			both := 0
			for name := range ourNames[a] {
				if theirNames[b][name] {
					both++
				}
			}
			if both == 0 {
				continue
			}
			both = 0
			for _, path := range ours {
				if rest, ok := strings.CutPrefix(path, a); ok && has[b+rest] {
					both++
				}
			}
			if both > most {
				ourPrefix, theirPrefix, most = a, b, both
			}
		}
	}
	return ourPrefix, theirPrefix
}

// Beside lays a result beside a profile, module by module where both have it. What stands
// above the net may differ, as where a tower of a model was traced for itself. Modules without names are found by their weights.
func Beside(r *layers.Result, p *Profile) []Row {
	theirs := p.Own
	if named := byWeights(r, p.tree); named != nil {
		theirs = named
	}
	var ours []string
	for _, l := range r.Layers {
		ours = append(ours, moduleOf(l))
	}
	ourPrefix, theirPrefix := above(ours, slices.Sorted(maps.Keys(theirs)))
	root := &module{}
	add := func(side int, path string, seconds float64) {
		m := root.at(path)
		m.own[side] += seconds
		m.has[side] = true
	}
	for i, l := range r.Layers {
		add(0, ours[i], l.Seconds)
	}
	for path, seconds := range theirs {
		if rest, ok := strings.CutPrefix(path+".", theirPrefix); ok {
			path = strings.TrimSuffix(ourPrefix+rest, ".")
		}
		add(1, path, seconds)
	}
	root.settle()
	l := root.rows("")
	slices.SortStableFunc(l, func(a, b Row) int { return cmp.Compare(b.Ours+b.Theirs, a.Ours+a.Theirs) })
	return l
}

// BesideTable writes rows to read, in so many columns (0: as many as it takes).
func BesideTable(w io.Writer, r *layers.Result, p *Profile, rows []Row, width int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", columns.Wrap(fmt.Sprintf("%s, and %s's mean of %d passes", r.Workload, p.Program, p.Passes), 0, width))
	table := []columns.Row{{Cells: []string{"parley", p.Program, "ratio"}}}
	line := func(x Row, name string) {
		ratio := ""
		if x.Ours > 0 && x.Theirs > 0 {
			ratio = fmt.Sprintf("%.2f", x.Ours/x.Theirs)
		}
		rest := ""
		if x.Rest && x.Path != "" {
			rest = "the rest of"
		}
		table = append(table, columns.Row{Cells: []string{Amount(r.Unit, x.Ours), Amount(r.Unit, x.Theirs), ratio, rest}, Name: name})
	}
	var sum, alone Row
	for _, x := range rows {
		sum.Ours, sum.Theirs = sum.Ours+x.Ours, sum.Theirs+x.Theirs
		if x.Path == "" {
			alone = x
		}
	}
	line(sum, "all layers")
	for _, x := range rows {
		line(x, cmp.Or(x.Path, "in no module of both"))
	}
	columns.Write(&b, table, width)
	share := func(part, all float64) float64 { return 100 * (1 - part/max(all, 1e-30)) }
	b.WriteString("\n" + columns.Wrap(fmt.Sprintf("%.1f %% of parley's time and %.1f %% of %s's lie in modules that both have",
		share(alone.Ours, sum.Ours), share(alone.Theirs, sum.Theirs), p.Program), 0, width) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}
