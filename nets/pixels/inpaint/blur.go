package inpaint

import (
	"math"

	"parley/nets/pixels"
)

// fill puts the picture, blurred more and more, where the mask is white.
func fill(m, mask *pixels.Image) *pixels.Image {
	kept, out := held(m, mask), newLayer(m.W, m.H)
	for _, pass := range []struct {
		radius float64
		times  int
	}{{256, 1}, {64, 1}, {16, 2}, {4, 4}, {2, 2}, {0, 1}} {
		blurred := smooth(kept, pass.radius).divided()
		for range pass.times {
			out.composite(blurred)
		}
	}
	return out.picture()
}

// smooth is Pillow's GaussianBlur: three box blurs of the same variance along rows, then
// along columns (Gwosdek and others, "Theoretical Foundations of Gaussian Convolution by
// Extended Box Filtering", 2011). Its time does not depend on the radius.
func smooth(l *layer, radius float64) *layer {
	if radius == 0 {
		return l
	}
	const passes = 3
	variance := float32(radius) * float32(radius) / passes
	length := float32(math.Sqrt(12*float64(variance) + 1))
	whole := float32(math.Floor((float64(length) - 1) / 2))
	part := (2*whole + 1) * (whole*(whole+1) - 3*variance)
	part /= 6 * (variance - (whole+1)*(whole+1))
	b := newBox(whole + part)
	out := newLayer(l.w, l.h)
	copy(out.pix, l.pix)
	lines := make([]uint8, 2*max(l.w, l.h))
	for c := range 4 {
		for y := range l.h {
			b.line(out.pix[4*y*l.w+c:], 4, l.w, passes, lines)
		}
		for x := range l.w {
			b.line(out.pix[4*x+c:], 4*l.w, l.h, passes, lines)
		}
	}
	return out
}

// box is a box blur: so many whole pixels to each side, and a part of the next.
type box struct {
	radius      int
	whole, next uint32 // weights, of 1<<24
}

func newBox(radius float32) box {
	r := int(radius)
	whole := uint32(float32(1<<24) / (radius*2 + 1))
	return box{r, whole, (1<<24 - uint32(2*r+1)*whole) / 2}
}

// line blurs n bytes, so many apart, some times; pixels beyond the ends are the last.
func (b box) line(pix []uint8, apart, n, times int, lines []uint8) {
	in, out := lines[:n], lines[n:2*n]
	for i := range in {
		in[i] = pix[i*apart]
	}
	for range times {
		at := func(i int) uint32 { return uint32(in[min(max(i, 0), n-1)]) }
		// The sum around -1: of pixels up to the radius before the first one.
		sum := uint32(in[0]) * uint32(b.radius+1)
		for i := range b.radius {
			if i >= n {
				sum += at(n-1) * uint32(b.radius-i)
				break
			}
			sum += at(i)
		}
		for i := range n {
			sum += at(i+b.radius) - at(i-b.radius-1)
			v := sum*b.whole + (at(i-b.radius-1)+at(i+b.radius+1))*b.next
			out[i] = uint8((v + 1<<23) >> 24)
		}
		in, out = out, in
	}
	for i := range in {
		pix[i*apart] = in[i]
	}
}

// MostBlur is the largest standard deviation of a mask's edges that is allowed, in pixels.
const MostBlur = 256

// blur softens a grey mask along its rows and columns, as OpenCV's GaussianBlur does with
// kernels as wide as the web UI's.
func (z *sizer) blur(m *pixels.Image, x, y float64) *pixels.Image {
	if x <= 0 && y <= 0 {
		return m
	}
	out := &pixels.Image{W: m.W, H: m.H, Pix: make([]uint8, len(m.Pix))}
	grey := make([]uint8, m.W*m.H)
	for i := range grey {
		grey[i] = m.Pix[3*i]
	}
	if x > 0 {
		k := gaussian(x)
		for row := 0; row < m.H && z.going(); row++ {
			k.line(grey[row*m.W:], 1, m.W)
		}
	}
	if y > 0 {
		k := gaussian(y)
		for column := 0; column < m.W && z.going(); column++ {
			k.line(grey[column:], m.W, m.H)
		}
	}
	for i, v := range grey {
		out.Pix[3*i], out.Pix[3*i+1], out.Pix[3*i+2] = v, v, v
	}
	return out
}

// going reports whether anybody waits still.
func (z *sizer) going() bool {
	if z.err == nil {
		z.err = z.ctx.Err()
	}
	return z.err == nil
}

// kernel is a Gaussian of 2*half+1 taps, whose weights are of 256. Those that are zero are
// left out, so that there are 256 at most, however wide it is.
type kernel struct {
	half int
	taps []tap
}

type tap struct {
	at     int
	weight uint32
}

// gaussian is OpenCV's kernel for bytes: rounded from its ends on, what is lost by each
// weight goes to the next, and the middle takes the rest.
func gaussian(deviation float64) kernel {
	half := int(2.5*deviation + 0.5)
	exact := make([]float64, half)
	sum := 0.0
	for i := range exact {
		d := float64(half - i)
		exact[i] = math.Exp(-d * d / (2 * deviation * deviation))
		sum += exact[i]
	}
	sum = 2*sum + 1
	k := kernel{half: half}
	middle, lost := uint32(256), 0.0
	for i, v := range exact {
		v = v/sum*256 + lost
		w := math.RoundToEven(v)
		lost = v - w
		if w != 0 {
			k.taps = append(k.taps, tap{i, uint32(w)}, tap{2*half - i, uint32(w)})
			middle -= 2 * uint32(w)
		}
	}
	if middle != 0 {
		k.taps = append(k.taps, tap{half, middle})
	}
	return k
}

// line filters n bytes, so many apart; beyond the ends are the pixels before them. Where all
// that a tap sees is alike, it stays.
func (k kernel) line(pix []uint8, apart, n int) {
	padded := make([]uint8, n+2*k.half)
	same := make([]int, len(padded)) // how many before each are like it
	for i := range padded {
		padded[i] = pix[mirrored(i-k.half, n)*apart]
		if i > 0 && padded[i] == padded[i-1] {
			same[i] = same[i-1] + 1
		}
	}
	for i := range n {
		if same[i+2*k.half] >= 2*k.half {
			continue
		}
		v := uint32(128)
		for _, t := range k.taps {
			v += t.weight * uint32(padded[i+t.at])
		}
		pix[i*apart] = uint8(v >> 8)
	}
}

// mirrored is OpenCV's BORDER_REFLECT_101.
func mirrored(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	if i = (i%period + period) % period; i >= n {
		i = period - i
	}
	return i
}
