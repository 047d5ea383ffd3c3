package inception

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/nets/pixels"
)

// Side is that of the pictures that FID's features are taken of.
const Side = 299

// Picture makes the net's input of a picture, [1, Side, Side, 3] of -1 to 1, as
// pytorch-fid does: torch's bilinear interpolation, which does not look at what lies
// between four pixels of a larger picture.
func Picture(m *pixels.Image) (*engine.Tensor, error) {
	if m.W < 1 || m.H < 1 {
		return nil, fmt.Errorf("a picture of %d x %d pixels has no features", m.W, m.H)
	}
	out := make([]float32, 0, Side*Side*3)
	columns, rows := between(m.W), between(m.H)
	for _, r := range rows {
		for _, c := range columns {
			for k := range 3 {
				at := func(y, x int) float64 { return float64(m.Pix[3*(y*m.W+x)+k]) }
				top := at(r.first, c.first)*(1-c.part) + at(r.first, c.second)*c.part
				bottom := at(r.second, c.first)*(1-c.part) + at(r.second, c.second)*c.part
				out = append(out, float32((top*(1-r.part)+bottom*r.part)*2/255-1))
			}
		}
	}
	return engine.FromF32(out, 1, Side, Side, 3), nil
}

// pair are two neighbours, and how much of the second is taken.
type pair struct {
	first, second int
	part          float64
}

// between finds the two of n pixels that each of Side lies between.
func between(n int) []pair {
	out := make([]pair, Side)
	for i := range out {
		at := max((float64(i)+0.5)*float64(n)/Side-0.5, 0)
		first := int(math.Floor(at))
		out[i] = pair{first, min(first+1, n-1), at - float64(first)}
	}
	return out
}
