package vit

import "math"

// interpolate gives the embeddings of h x w positions [1+h*w, width] from those of
// side x side, whose first row is the class token's and stays. The filter is torch's
// bicubic (Keys with a = -0.75, pixels' middles on each other, no antialiasing, the
// edge repeated).
func interpolate(learned []float32, side, h, w, width int) []float32 {
	out := make([]float32, (1+h*w)*width)
	copy(out, learned[:width])
	grid := learned[width:]
	rows, columns := taps(side, h), taps(side, w)
	for y := range h {
		for x := range w {
			to := out[(1+y*w+x)*width:][:width]
			for _, r := range rows[y] {
				for _, c := range columns[x] {
					from, k := grid[(r.at*side+c.at)*width:][:width], float32(r.weight*c.weight)
					for i, v := range from {
						to[i] += k * v
					}
				}
			}
		}
	}
	return out
}

type tap struct {
	at     int
	weight float64
}

// taps are the four positions, of so many, that each of n others is made of.
func taps(from, n int) [][4]tap {
	const a = -0.75
	near := func(d float64) float64 { return ((a+2)*d-(a+3))*d*d + 1 }
	far := func(d float64) float64 { return ((a*d-5*a)*d+8*a)*d - 4*a }
	out := make([][4]tap, n)
	for i := range out {
		at := (float64(i)+0.5)*float64(from)/float64(n) - 0.5
		first := math.Floor(at)
		t := at - first
		for j, k := range [4]float64{far(t + 1), near(t), near(1 - t), far(2 - t)} {
			out[i][j] = tap{min(max(int(first)+j-1, 0), from-1), k}
		}
	}
	return out
}
