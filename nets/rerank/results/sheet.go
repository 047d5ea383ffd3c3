package results

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"parley/nets/pixels"
	"parley/nets/rerank"
)

// Sizes of a contact sheet, in pixels.
const (
	tile   = 192 // a picture's side
	margin = 16
	line   = 18
	lines  = 4 // of a caption
)

type face struct{ plain, bold font.Face }

func faces() (f face, err error) {
	make := func(ttf []byte, size float64) (font.Face, error) {
		parsed, err := opentype.Parse(ttf)
		if err != nil {
			return nil, err
		}
		return opentype.NewFace(parsed, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
	}
	if f.plain, err = make(goregular.TTF, 14); err != nil {
		return f, err
	}
	f.bold, err = make(gobold.TTF, 14)
	return f, err
}

// Sheet draws results: a row each, the source on the left, then the candidates
// in the order of their ranks with score and caption.
func Sheet(results []*rerank.Result) (*pixels.Image, error) {
	f, err := faces()
	if err != nil {
		return nil, err
	}
	columns := 0
	for _, r := range results {
		columns = max(columns, len(r.Candidates))
	}
	columns = min(columns, 8)
	cell, block := tile+margin, tile+margin+(1+lines)*line+margin
	rowsOf := func(r *rerank.Result) int { return max(1, (len(r.Candidates)+columns-1)/columns) }
	height := margin
	for _, r := range results {
		height += rowsOf(r) * block
	}
	img := image.NewRGBA(image.Rect(0, 0, margin+(1+columns)*cell+margin, height))
	fill(img, img.Bounds(), color.RGBA{250, 250, 247, 255})
	ink, faint, best := color.RGBA{28, 28, 30, 255}, color.RGBA{120, 120, 124, 255}, color.RGBA{12, 122, 82, 255}
	y := margin
	for _, r := range results {
		fill(img, image.Rect(margin, y, margin+tile, y+tile), color.RGBA{232, 232, 228, 255})
		if r.Source.Picture != nil {
			paste(img, margin, y, r.Source.Picture)
			text(img, f.bold, margin, y+tile+line, faint, "source")
			wrap(img, f.plain, margin, y+tile+2*line, ink, r.Source.Name)
		} else {
			text(img, f.bold, margin+8, y+8+line, faint, "text")
			wrapTo(img, f.plain, margin+8, y+8+2*line, tile-16, 8, ink, r.Source.Name)
		}
		for i, c := range r.Ranked() {
			x, top := 2*margin+(1+i%columns)*cell, y+i/columns*block
			if c.Picture != nil {
				paste(img, x, top, c.Picture)
			} else {
				fill(img, image.Rect(x, top, x+tile, top+tile), color.RGBA{245, 225, 225, 255})
			}
			head, tint, bold := fmt.Sprintf("%d   %.3f", c.Rank, c.Score), faint, f.plain
			if c.Rank == 1 {
				tint, bold = best, f.bold
				frame(img, image.Rect(x-3, top-3, x+tile+3, top+tile+3), 3, best)
			}
			caption := c.Text
			if c.Rank == 0 {
				head = "failed"
				if c.Err != nil {
					caption = c.Err.Error()
				}
			}
			text(img, bold, x, top+tile+line, tint, head)
			wrap(img, f.plain, x, top+tile+2*line, ink, caption)
		}
		y += rowsOf(r) * block
	}
	return pixels.FromGo(img), nil
}

func fill(img draw.Image, r image.Rectangle, c color.Color) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

func frame(img draw.Image, r image.Rectangle, w int, c color.Color) {
	for _, e := range []image.Rectangle{{r.Min, image.Pt(r.Max.X, r.Min.Y+w)}, {image.Pt(r.Min.X, r.Max.Y-w), r.Max},
		{r.Min, image.Pt(r.Min.X+w, r.Max.Y)}, {image.Pt(r.Max.X-w, r.Min.Y), r.Max}} {
		fill(img, e, c)
	}
}

// paste fits a picture in a tile; small ones stay crisp.
func paste(img draw.Image, x, y int, m *pixels.Image) {
	w, h := fitted(m)
	how := pixels.Lanczos
	if max(m.W, m.H) < tile {
		how = pixels.Bicubic
	}
	draw.Draw(img, image.Rect(x, y, x+w, y+h).Add(image.Pt((tile-w)/2, (tile-h)/2)), m.Resize(w, h, how).Go(), image.Point{}, draw.Src)
}

// fitted is the size of a picture in a tile.
func fitted(m *pixels.Image) (w, h int) {
	long := max(m.W, m.H, 1)
	return max(1, m.W*tile/long), max(1, m.H*tile/long)
}

func text(img draw.Image, f font.Face, x, y int, c color.Color, s string) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(c), Face: f, Dot: fixed.P(x, y)}
	d.DrawString(s)
}

func wrap(img draw.Image, f font.Face, x, y int, c color.Color, s string) {
	wrapTo(img, f, x, y, tile, lines, c, s)
}

// wrapTo breaks a text in lines of a width, and cuts what is too long.
func wrapTo(img draw.Image, f font.Face, x, y, width, most int, c color.Color, s string) {
	fits := func(s string) bool { return font.MeasureString(f, s).Ceil() <= width }
	var rows []string
	row := ""
	for _, word := range strings.Fields(s) {
		for !fits(word) { // a word wider than the column
			n := len([]rune(word))
			for n > 1 && !fits(string([]rune(word)[:n])) {
				n--
			}
			if row != "" {
				rows, row = append(rows, row), ""
			}
			rows, word = append(rows, string([]rune(word)[:n])), string([]rune(word)[n:])
			if word == "" {
				break
			}
		}
		if next := strings.TrimSpace(row + " " + word); fits(next) {
			row = next
		} else {
			rows, row = append(rows, row), word
		}
	}
	if row != "" {
		rows = append(rows, row)
	}
	if len(rows) > most {
		rows = rows[:most]
		last := []rune(rows[most-1])
		for len(last) > 0 && !fits(string(last)+"…") {
			last = last[:len(last)-1]
		}
		rows[most-1] = string(last) + "…"
	}
	for i, r := range rows {
		text(img, f, x, y+i*line, c, r)
	}
}
