package score

import "math"

// What the reference adds so that nothing is divided by zero.
const (
	tiny  = 1e-15
	small = 1e-9
)

// bleu holds what BLEU counts in a caption, or in all.
type bleu struct {
	correct, guess [order]float64
	length         float64 // the caption's
	reference      float64 // the length of the reference closest in length, the shorter of two
}

func countBLEU(c caption, refs []caption) bleu {
	b := bleu{length: float64(c.length)}
	best := -1
	for _, r := range refs {
		off := max(r.length-c.length, c.length-r.length)
		if best < 0 || off < best || off == best && r.length < int(b.reference) {
			best, b.reference = off, float64(r.length)
		}
	}
	for n := range order {
		b.guess[n] = float64(max(0, c.length-n))
		for _, g := range c.grams[n] {
			most := int32(0)
			for _, r := range refs {
				most = max(most, find(r.grams[n], g.id))
			}
			b.correct[n] += float64(min(most, g.count))
		}
	}
	return b
}

func (b *bleu) add(o bleu) {
	b.length += o.length
	b.reference += o.reference
	for n := range order {
		b.correct[n] += o.correct[n]
		b.guess[n] += o.guess[n]
	}
}

// score is BLEU 1 to 4 (Papineni et al., 2002).
func (b *bleu) score() (out [order]float64) {
	product := 1.0
	ratio := (b.length + tiny) / (b.reference + small)
	for n := range order {
		product *= (b.correct[n] + tiny) / (b.guess[n] + small)
		out[n] = math.Pow(product, 1/float64(n+1))
		if ratio < 1 {
			out[n] *= math.Exp(1 - 1/ratio)
		}
	}
	return out
}
