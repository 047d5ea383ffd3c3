package compare

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"parley/bench/layers"
)

// vllmNode is a module, or a kernel on a GPU, with those within, all of whose time it has.
type vllmNode struct {
	Entry struct {
		Name string
		CUDA float64 `json:"cuda_time_us"`
		CPU  float64 `json:"cpu_time_us"`
	}
	Children []vllmNode
}

// seconds are the device's where any of the roots has some, and the host's otherwise.
func seconds(roots []vllmNode) func(n *vllmNode) float64 {
	if slices.ContainsFunc(roots, func(n vllmNode) bool { return n.Entry.CUDA > 0 }) {
		return func(n *vllmNode) float64 { return n.Entry.CUDA / 1e6 }
	}
	return func(n *vllmNode) float64 { return n.Entry.CPU / 1e6 }
}

// own is what a module takes without those within.
func (n *vllmNode) own(time func(n *vllmNode) float64) float64 {
	own := time(n)
	for i := range n.Children {
		own -= time(&n.Children[i])
	}
	return max(0, own)
}

// vllm names modules by their classes, and by their number where a class comes again.
func vllm(roots []vllmNode) (*Profile, error) {
	p := &Profile{Program: "vLLM", Own: map[string]float64{}, Passes: 1, tree: roots}
	time := seconds(roots)
	var walk func(parent string, l []vllmNode)
	walk = func(parent string, l []vllmNode) {
		count, seen := map[string]int{}, map[string]int{}
		class := func(n vllmNode) string {
			c, _, _ := strings.Cut(n.Entry.Name, "(")
			return strings.ReplaceAll(c, ".", "_")
		}
		for _, n := range l {
			count[class(n)]++
		}
		for i := range l {
			n := &l[i]
			path := class(*n)
			if count[path] > 1 {
				seen[path]++
				path = fmt.Sprintf("%s.%d", path, seen[path]-1)
			}
			if parent != "" {
				path = parent + "." + path
			}
			p.Own[path] += n.own(time)
			walk(path, n.Children)
		}
	}
	walk("", roots)
	if len(p.Own) == 0 {
		return nil, errors.New("vLLM's layerwise profile has no modules")
	}
	return p, nil
}

// weighted is an operation with weights: its key is their shape.
type weighted struct {
	key   string
	path  string      // ours
	nodes []*vllmNode // theirs: one, or three that we do as one product
}

func key(dims ...int) string { return strings.Trim(fmt.Sprint(dims), "[]") }

// weightsOf are our operations with weights, in the order in which they run.
func weightsOf(r *layers.Result) (l []weighted) {
	for _, v := range r.Layers {
		d, w := v.Dims, weighted{path: moduleOf(v)}
		switch v.Op {
		case "linear":
			w.key = key(d["n"], d["k"])
		case "conv":
			w.key = key(d["out"], d["in"], d["kh"], d["kw"])
		case "layernorm", "groupnorm":
			w.key = key(d["channels"])
		default:
			continue
		}
		l = append(l, w)
	}
	return l
}

// weightShape is that of a module in vLLM's profile: "Linear(weight=float16[512, 768])".
var weightShape = regexp.MustCompile(`\bweight=\w+\[([0-9, ]+)\]`)

// shapeOf is the shape of a module's weights; "" of one without.
func (n *vllmNode) shapeOf() string {
	m := weightShape.FindStringSubmatch(n.Entry.Name)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(m[1], ",", "")
}

// theirWeights are modules with weights in their order. Three of one shape beside each
// other (query, key and value) are one where we have a product of three times the columns.
func theirWeights(nodes []vllmNode, ours map[string]bool) (l []weighted) {
	for i := 0; i < len(nodes); i++ {
		n := &nodes[i]
		shape := n.shapeOf()
		var out, in int
		if _, err := fmt.Sscanf(shape, "%d %d", &out, &in); err == nil && key(out, in) == shape && i+2 < len(nodes) &&
			nodes[i+1].shapeOf() == shape && nodes[i+2].shapeOf() == shape && ours[key(3*out, in)] {
			l = append(l, weighted{key: key(3*out, in), nodes: []*vllmNode{n, &nodes[i+1], &nodes[i+2]}})
			i += 2
			continue
		}
		if shape != "" {
			l = append(l, weighted{key: shape, nodes: []*vllmNode{n}})
		}
		l = append(l, theirWeights(n.Children, ours)...)
	}
	return l
}

// matched are the paths of ours for modules of theirs: the longest sequence of weights'
// shapes that both run in one order.
func matched(ours, theirs []weighted) map[*vllmNode]string {
	most := make([][]int, len(ours)+1) // of what follows
	for i := range most {
		most[i] = make([]int, len(theirs)+1)
	}
	for i := len(ours) - 1; i >= 0; i-- {
		for j := len(theirs) - 1; j >= 0; j-- {
			most[i][j] = max(most[i+1][j], most[i][j+1])
			if ours[i].key == theirs[j].key {
				most[i][j] = max(most[i][j], 1+most[i+1][j+1])
			}
		}
	}
	found := map[*vllmNode]string{}
	for i, j := 0, 0; i < len(ours) && j < len(theirs); {
		switch {
		case ours[i].key == theirs[j].key && most[i][j] == 1+most[i+1][j+1]:
			for _, n := range theirs[j].nodes {
				found[n] = ours[i].path
			}
			i, j = i+1, j+1
		case most[i][j] == most[i+1][j]:
			i++
		default:
			j++
		}
	}
	return found
}

// byWeights are the seconds of vLLM's modules by our paths, each without those within. A
// module that is not ours is the part that all those of ours within have in common, or
// belongs to the one around it. Nil where nothing is ours.
func byWeights(r *layers.Result, tree []vllmNode) map[string]float64 {
	ours := weightsOf(r)
	keys := map[string]bool{}
	for _, w := range ours {
		keys[w.key] = true
	}
	found := matched(ours, theirWeights(tree, keys))
	if len(found) == 0 {
		return nil
	}
	var within func(n *vllmNode) (common []string, some bool)
	within = func(n *vllmNode) (common []string, some bool) {
		if path, ok := found[n]; ok {
			return strings.Split(path, "."), true
		}
		for i := range n.Children {
			names, ok := within(&n.Children[i])
			switch {
			case ok && some:
				k := 0
				for k < min(len(names), len(common)) && names[k] == common[k] {
					k++
				}
				common = common[:k]
			case ok:
				common, some = names, true
			}
		}
		return common, some
	}
	time, own := seconds(tree), map[string]float64{}
	var walk func(l []vllmNode, parent string)
	walk = func(l []vllmNode, parent string) {
		for i := range l {
			n, path := &l[i], parent
			if names, ok := within(n); ok {
				path = strings.Join(names, ".")
			}
			own[path] += n.own(time)
			walk(n.Children, path)
		}
	}
	walk(tree, "")
	return own
}
