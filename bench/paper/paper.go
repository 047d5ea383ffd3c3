// Package paper holds figures of "Do DALL-E and Flamingo Understand Each Other?"
// (arXiv 2212.12249) to stand beside ours: what was read off the plots of its
// project page, so good to about three digits.
package paper

// Series is a score of the candidates by their rank, the best reconstruction
// first. Where only the ends could be read, it has two values: of the first and
// of the last rank.
type Series struct {
	Score       string
	Values      []float64
	LowerBetter bool
}

// K is the number of candidates of each source.
const K = 10

// Captions are the scores of NoCaps' captions by the rank of their images'
// CLIP distance to the source (image reconstruction).
func Captions() []Series {
	return []Series{
		{"CIDEr", []float64{.803, .800, .787, .780, .766, .765, .742, .720, .685, .628}, false},
		{"WMD", []float64{.851, .888}, true},
		{"CLIP text", []float64{.671, .618}, false},
		{"SBERT", []float64{.576, .518}, false},
	}
}

// Images are the scores of NoCaps' drawings by the rank of their captions'
// distance to the source text (text reconstruction).
func Images() []Series {
	return []Series{
		{"CLIP image", []float64{.604, .568}, false},
		{"DINO", []float64{.484, .44}, false},
		{"FID", []float64{235, 263}, true},
	}
}

// Gain is how much better the first rank is than the mean of all, as a part of
// the mean; for two ends it is how much better than their middle.
func (s Series) Gain() float64 {
	sum := 0.0
	for _, v := range s.Values {
		sum += v
	}
	g := s.Values[0]/(sum/float64(len(s.Values))) - 1
	if s.LowerBetter {
		return -g
	}
	return g
}
