package score

import (
	"errors"
	"math"
)

// ErrDegenerate says that CIDEr's weights mean nothing.
var ErrDegenerate = errors.New("idf is degenerate: over a single image each n-gram of its references weighs log 1 = 0")

// sigma of CIDEr-D's penalty on differences in length.
const sigma = 6

// CIDErD weighs n-grams by their idf over the references of all images (Vedantam
// et al., arXiv 1411.5726). Words are not stemmed, as nowhere in the tools.
type CIDErD struct {
	numbers *numbers
	refs    [][]caption
	idf     [order][]float64
	base    float64 // of what no reference has: the logarithm of the number of images
}

// weights are an n-gram's tf-idf by n-1, aligned with the caption's grams, and
// their norms.
type weights struct {
	value [order][]float64
	norm  [order]float64
}

// NewCIDErD takes the tokenized references of each image, the tokens of each with
// a space between two.
func NewCIDErD(references [][]string) *CIDErD {
	n := newNumbers()
	refs := make([][]caption, len(references))
	for i, list := range references {
		for _, r := range list {
			refs[i] = append(refs[i], n.caption(r))
		}
	}
	return newCIDErD(n, refs)
}

func newCIDErD(n *numbers, refs [][]caption) *CIDErD {
	c := &CIDErD{numbers: n, refs: refs, base: math.Log(float64(len(refs)))}
	var last [order][]int32 // by n-gram: the image that was the last to count it
	for i := range order {
		size := len(n.grams[i])
		if i == 0 {
			size = len(n.words)
		}
		c.idf[i], last[i] = make([]float64, size), make([]int32, size)
	}
	for i, list := range refs {
		for _, r := range list {
			for k := range order {
				for _, g := range r.grams[k] {
					if last[k][g.id] != int32(i+1) {
						last[k][g.id] = int32(i + 1)
						c.idf[k][g.id]++
					}
				}
			}
		}
	}
	for k := range order {
		for i, df := range c.idf[k] {
			c.idf[k][i] = c.base - math.Log(max(1, df))
		}
	}
	return c
}

// Degenerate is ErrDegenerate where all weights are zero, nil otherwise.
func (c *CIDErD) Degenerate() error {
	if len(c.refs) == 1 {
		return ErrDegenerate
	}
	return nil
}

func (c *CIDErD) weigh(s caption) (w weights) {
	for k := range order {
		w.value[k] = make([]float64, len(s.grams[k]))
		for i, g := range s.grams[k] {
			idf := c.base
			if int(g.id) < len(c.idf[k]) {
				idf = c.idf[k][g.id]
			}
			v := float64(g.count) * idf
			w.value[k][i] = v
			w.norm[k] += v * v
		}
		w.norm[k] = math.Sqrt(w.norm[k])
	}
	return w
}

// both are CIDEr-D, what the COCO tools print as CIDEr, and the plain CIDEr of a
// caption of image i, both times 10.
func (c *CIDErD) both(s caption, i int) (d, plain float64) {
	w := c.weigh(s)
	for _, r := range c.refs[i] {
		rw := c.weigh(r)
		off := float64(s.length - r.length) // in bigrams, which empty captions lack as they lack words
		penalty := math.Exp(-off * off / (2 * sigma * sigma))
		for k := range order {
			if w.norm[k] == 0 || rw.norm[k] == 0 {
				continue
			}
			clipped, cosine := 0.0, 0.0
			a, b := s.grams[k], r.grams[k]
			for x, y := 0, 0; x < len(a) && y < len(b); {
				switch {
				case a[x].id < b[y].id:
					x++
				case a[x].id > b[y].id:
					y++
				default:
					h, ref := w.value[k][x], rw.value[k][y]
					clipped += min(h, ref) * ref
					cosine += h * ref
					x++
					y++
				}
			}
			d += clipped / (w.norm[k] * rw.norm[k]) * penalty
			plain += cosine / (w.norm[k] * rw.norm[k])
		}
	}
	if len(c.refs[i]) == 0 {
		return 0, 0
	}
	n := float64(len(c.refs[i])) * order / 10
	return d / n, plain / n
}

// Score is the CIDEr-D of a tokenized caption of image i, which the COCO tools print
// as CIDEr: clipped counts, a Gaussian penalty of sigma 6 on the difference of
// lengths (in bigrams), times 10. Several goroutines may call it.
func (c *CIDErD) Score(tokens string, i int) float64 {
	d, _ := c.both(c.number(tokens), i)
	return d
}

// Plain is the CIDEr of the paper's equation, neither clipped nor penalised,
// times 10.
func (c *CIDErD) Plain(tokens string, i int) float64 {
	_, p := c.both(c.number(tokens), i)
	return p
}

func (c *CIDErD) number(tokens string) caption { return c.own().caption(tokens) }

// own numbers captions without adding to the references' numbers.
func (c *CIDErD) own() *numbers {
	n := newNumbers()
	n.under = c.numbers
	return n
}
