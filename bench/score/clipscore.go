package score

import (
	"fmt"
	"math"
)

// clipWeight is the w of CLIPScore.
const clipWeight = 2.5

// CLIPScore is 2.5 max(cos, 0) of the embeddings of a picture and a caption
// (Hessel et al., arXiv 2104.08718). Its authors embed by CLIP ViT-B/32 and put
// "A photo depicts " before each caption.
func CLIPScore(image, caption []float32) (float64, error) {
	c, err := Cosine(image, caption)
	return clipWeight * max(c, 0), err
}

// RefCLIPScore is the harmonic mean of CLIPScore and of the largest cosine of
// the caption with a reference, if that is above 0; 0 if either is 0.
func RefCLIPScore(image, caption []float32, references [][]float32) (float64, error) {
	s, err := CLIPScore(image, caption)
	if err != nil {
		return 0, err
	}
	if len(references) == 0 {
		return 0, fmt.Errorf("RefCLIPScore: no references")
	}
	best := 0.0
	for i, r := range references {
		c, err := Cosine(caption, r)
		if err != nil {
			return 0, fmt.Errorf("reference %d: %w", i+1, err)
		}
		best = max(best, c)
	}
	if s == 0 || best == 0 {
		return 0, nil
	}
	return 2 * s * best / (s + best), nil
}

// Cosine is that of two embeddings, which need not have length 1.
func Cosine(a, b []float32) (float64, error) {
	if len(a) != len(b) || len(a) == 0 {
		return 0, fmt.Errorf("embeddings of %d and %d values", len(a), len(b))
	}
	var dot, x, y float64
	for i := range a {
		u, v := float64(a[i]), float64(b[i])
		dot += u * v
		x += u * u
		y += v * v
	}
	c := dot / math.Sqrt(x*y)
	if math.IsNaN(c) || math.IsInf(c, 0) {
		return 0, fmt.Errorf("an embedding is zero or not finite")
	}
	return c, nil
}
