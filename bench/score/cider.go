// Package score holds captions against references.
package score

import (
	"math"
	"strings"
)

// grams are the counts of a sentence's n-grams, n from 1 to 4.
type grams [4]map[string]int

func count(sentence string) (g grams) {
	words := strings.Fields(strings.ToLower(sentence))
	for n := range g {
		g[n] = map[string]int{}
		for i := 0; i+n < len(words); i++ {
			g[n][strings.Join(words[i:i+n+1], " ")]++
		}
	}
	return g
}

// CIDErD is the CIDEr that COCO's caption tools print (Vedantam et al., arXiv
// 1411.5726, the D variant: clipped counts, sigma 6, times 10). Sentences are
// split at spaces and hold no punctuation.
type CIDErD struct {
	refs [][]grams
	idf  map[string]float64
	base float64 // idf of what no reference has
}

// NewCIDErD takes the references of every picture; the weights of n-grams come
// from all of them.
func NewCIDErD(references [][]string) *CIDErD {
	c := &CIDErD{idf: map[string]float64{}, base: math.Log(float64(len(references)))}
	frequency := map[string]int{}
	for _, rs := range references {
		var list []grams
		seen := map[string]bool{}
		for _, r := range rs {
			g := count(r)
			list = append(list, g)
			for _, m := range g {
				for k := range m {
					seen[k] = true
				}
			}
		}
		for k := range seen {
			frequency[k]++
		}
		c.refs = append(c.refs, list)
	}
	for k, f := range frequency {
		c.idf[k] = c.base - math.Log(float64(f))
	}
	return c
}

func (c *CIDErD) weigh(g grams) (v [4]map[string]float64, norm [4]float64, length int) {
	for n, m := range g {
		v[n] = make(map[string]float64, len(m))
		for k, f := range m {
			w, ok := c.idf[k]
			if !ok {
				w = c.base
			}
			v[n][k] = float64(f) * w
			norm[n] += v[n][k] * v[n][k]
			if n == 1 {
				length += f
			}
		}
		norm[n] = math.Sqrt(norm[n])
	}
	return v, norm, length
}

// Score holds a caption of picture i against its references.
func (c *CIDErD) Score(caption string, i int) float64 {
	v, norm, length := c.weigh(count(caption))
	total := 0.0
	for _, r := range c.refs[i] {
		rv, rnorm, rlength := c.weigh(r)
		sum := 0.0
		for n := range v {
			if norm[n] == 0 || rnorm[n] == 0 {
				continue
			}
			dot := 0.0
			for k, x := range v[n] {
				dot += min(x, rv[n][k]) * rv[n][k]
			}
			sum += dot / (norm[n] * rnorm[n])
		}
		d := float64(length - rlength)
		total += sum / 4 * math.Exp(-d*d/72)
	}
	return 10 * total / float64(len(c.refs[i]))
}
