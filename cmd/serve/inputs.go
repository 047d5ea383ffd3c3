package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"parley/nets/pixels"
)

// input is a text or a picture.
type input struct {
	text  string
	image *pixels.Image
}

// mostInputs is how many texts and pictures one request may have, as OpenAI has it.
const mostInputs = 2048

func (s *Server) inputs(raw json.RawMessage) ([]input, error) {
	if len(raw) == 0 {
		return nil, wrong("input", "is needed")
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		raw = json.RawMessage("[" + string(raw) + "]")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, wrong("input", "want a text, or a list of texts and pictures")
	}
	if len(list) == 0 || len(list) > mostInputs {
		return nil, wrong("input", "%d entries: want 1 to %d", len(list), mostInputs)
	}
	out := make([]input, len(list))
	for i, e := range list {
		param := fmt.Sprintf("input[%d]", i)
		text := ""
		if json.Unmarshal(e, &text) == nil {
			out[i].text = text
		} else {
			var v struct {
				Text  *string `json:"text"`
				Image *string `json:"image"`
			}
			d := json.NewDecoder(strings.NewReader(string(e)))
			d.DisallowUnknownFields()
			if err := d.Decode(&v); err != nil || (v.Text == nil) == (v.Image == nil) {
				return nil, wrong(param, `want a text, {"text": …} or {"image": base64}; token ids are not taken`)
			}
			if v.Image != nil {
				var err error
				if out[i].image, err = s.picture(param, *v.Image); err != nil {
					return nil, err
				}
				continue
			}
			out[i].text = *v.Text
		}
		if out[i].text == "" || len(out[i].text) > s.o.Text {
			return nil, wrong(param, "a text has 1 to %d bytes", s.o.Text)
		}
	}
	return out, nil
}

// embed embeds inputs in their order.
func (s *Server) embed(r *http.Request, inputs []input) ([][]float32, error) {
	rows := make([][]float32, len(inputs))
	var texts []string
	var places []int
	results := make(chan error, len(inputs)+1)
	n := 0
	for i, in := range inputs {
		if in.image == nil {
			texts, places = append(texts, in.text), append(places, i)
			continue
		}
		n++
		go func() {
			var err error
			rows[i], err = s.work.EmbedPicture(r.Context(), client(r), in.image)
			results <- err
		}()
	}
	var err error
	if len(texts) > 0 {
		var some [][]float32
		if some, err = s.work.EmbedTexts(r.Context(), client(r), texts); err == nil {
			for j, i := range places {
				rows[i] = some[j]
			}
		}
	}
	for range n {
		err = errors.Join(err, <-results)
	}
	return rows, err
}
