// Package lcms is Little CMS: its C, compiled to WebAssembly and translated to
// Go (wasm.go, made by ../generate.py). It turns colours by a picture's ICC
// profile into sRGB, as Pillow's ImageCms.profileToProfile.
package lcms

import (
	"errors"
	"fmt"

	"parley/nets/pixels/trap"
)

// batch is how many pixels go through the module's memory at a time.
const batch = 1 << 14

// SRGB converts samples of n a pixel (1 is grey, 3 is RGB, 4 is CMYK) by a
// profile to red, green and blue. A profile for RGB takes grey too.
func SRGB(icc, samples []byte, n int) (rgb []byte, err error) {
	h := &host{}
	defer trap.Catch("lcms", &err)
	h.m = New(h)
	m := h.m
	alloc := func(n int) int32 {
		at := m.Xalloc(int32(n))
		if at == 0 {
			trap.Stop(errors.New("out of memory"))
		}
		return at
	}
	profile, wants := alloc(len(icc)), alloc(4)
	copy(m.memory[profile:], icc)
	transform := m.Xopen(profile, int32(len(icc)), wants)
	takes := int(m.memory[wants])
	if takes != n && !(takes == 3 && n == 1) {
		return nil, fmt.Errorf("it is for %d samples a pixel, the picture has %d", takes, n)
	}
	pixels := len(samples) / n
	rgb = make([]byte, 3*pixels)
	in, out := alloc(takes*batch), alloc(3*batch)
	for at := 0; at < pixels; at += batch {
		some := min(batch, pixels-at)
		from, to := samples[at*n:][:some*n], m.memory[in:][:some*takes]
		if takes == n {
			copy(to, from)
		} else {
			for i, v := range from {
				to[3*i], to[3*i+1], to[3*i+2] = v, v, v
			}
		}
		m.Xapply(transform, in, out, int32(some))
		copy(rgb[3*at:], m.memory[out:][:3*some])
	}
	return rgb, nil
}

// host is what the module calls.
type host struct{ m *Module }

func (h *host) Xfail(at int32) { trap.Fail(h.m.memory, at) }
