package norm

import (
	_ "embed"
	"strconv"

	"parley/engine"
	"parley/engine/cuda"
)

//go:embed op.tar.zst
var image string

var module = cuda.NewModule("norm", image)

func layerOnCUDA(d *cuda.Device, s *engine.Stream, x, gamma, beta, y *engine.Tensor, eps float64) {
	if y.Elems() == 0 {
		return
	}
	c := x.Dim(-1)
	rows := x.Elems() / c
	name, grid, block := "layer_"+x.DType().String(), rows, 256
	// A warp's lane has four channels at a time.
	if c%4 == 0 && c <= 128*16 && aligned(x, y, gamma, beta) {
		v := 1
		for c > 128*v {
			v *= 2
		}
		name, grid, block = name+"_v"+strconv.Itoa(v), (rows+3)/4, 128
	} else {
		name += "_any"
	}
	d.LaunchDependent(s, module, name, cuda.Dim{X: grid}, cuda.Dim{X: block}, 0, x, gamma, beta, y, rows, c, float32(eps))
}

// aligned says whether tensors begin at multiples of 16 bytes.
func aligned(ts ...*engine.Tensor) bool {
	for _, t := range ts {
		if t != nil && t.Memory().Addr%16 != 0 {
			return false
		}
	}
	return true
}

// layout is how a group norm is cut among blocks: so many groups each, and the
// positions of a sample in so many chunks (op.cu's bundle and slabs). With 0 groups a
// block takes one, element by element.
type layout struct{ groups, chunks int }

// Bytes: of a memory sector, of a map's columns that one block takes alone, and
// of the chunks of a longer one.
const sector, alone, chunk = 32, 96 << 10, 48 << 10

// own is what op.cu's kernels have of shared memory beside what is kept of a map:
// so many bytes at most.
const own = 42 << 10

// cut chooses the layout for maps of so many positions and channels of size
// bytes, of two tensors of width and rest channels.
func cut(positions, width, rest, groups, size int) layout {
	const most, widest, parts = 64, 1024, 128 // groups and channels of a block, and chunks, in op.cu
	vec := 16 / size
	if groups < 1 || width%vec != 0 || rest%vec != 0 {
		return layout{chunks: 1}
	}
	per := (width + rest) / groups
	// The fewest groups that are whole sectors; of a large map, four sectors.
	fit := func(bytes int) int {
		for b := 1; b <= min(groups, most); b++ {
			if groups%b == 0 && b*per*size%bytes == 0 && b*per <= widest {
				return b
			}
		}
		return 0
	}
	b := fit(sector)
	if b == 0 {
		b = fit(16)
	}
	if b == 0 {
		return layout{chunks: 1}
	}
	if wide := fit(4 * sector); wide > 0 && positions*b*per*size > alone {
		b = wide
	}
	l := layout{groups: b, chunks: 1}
	if bytes := positions * b * per * size; bytes > alone {
		l.chunks = min(parts, positions, (bytes+chunk-1)/chunk)
	}
	return l
}

// groupOnCUDA normalises x and the channels of concat behind it. part is [n,
// groups, chunks, 2] in f32, nil where the layout has one chunk.
func groupOnCUDA(d *cuda.Device, s *engine.Stream, l layout, x, concat *engine.Tensor, groups int,
	gamma, beta, y, part *engine.Tensor, eps float64, silu bool) {
	if y.Elems() == 0 {
		return
	}
	n, width, rest := x.Dim(0), x.Dim(-1), 0
	if concat != nil {
		rest = concat.Dim(-1)
	}
	positions := y.Elems() / n / (width + rest)
	act := 0
	if silu {
		act = 1
	}
	typ, block := x.DType().String(), cuda.Dim{X: 512}
	if l.groups == 0 || !aligned(x, concat, y) {
		d.LaunchDependent(s, module, "group_"+typ+"_any", cuda.Dim{X: n * groups}, block, 0,
			x, concat, gamma, beta, y, positions, width, rest, groups, float32(eps), act)
		return
	}
	// Each block keeps what it reads of the map, as far as there is room.
	items := n * groups / l.groups * l.chunks
	blocks := items
	if l.chunks > 1 {
		blocks = min(items, d.SMs())
	}
	bytes := (positions + l.chunks - 1) / l.chunks * (width + rest) / (groups / l.groups) * x.DType().Size()
	kept := min((items+blocks-1)/blocks, (d.MaxShared()-own)/bytes)
	launch, name := d.LaunchDependent, "group_"+typ
	if l.chunks > 1 {
		launch, name = d.LaunchCooperative, "group_slabs_"+typ
	}
	launch(s, module, name, cuda.Dim{X: blocks}, block, kept*bytes,
		x, concat, gamma, beta, y, part, n, positions, width, rest, groups, l.groups, l.chunks, kept, float32(eps), act)
}

func l2OnCUDA(d *cuda.Device, s *engine.Stream, x, y *engine.Tensor) {
	if y.Elems() == 0 {
		return
	}
	c := x.Dim(-1)
	d.LaunchDependent(s, module, "l2_"+x.DType().String(), cuda.Dim{X: x.Elems() / c}, cuda.Dim{X: 256}, 0, x, y, c)
}
