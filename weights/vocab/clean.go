package vocab

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Cleaning is what is done to a text before CLIP's words are looked for.
type Cleaning string

// The cleanings of CLIP's families. All but the first begin with ftfy.fix_text
// and html.unescape twice, and make one space of white space.
const (
	// Transformers composes and drops case, and no more: transformers'
	// CLIPTokenizer, which diffusers uses.
	Transformers Cleaning = "transformers"
	// OpenAI drops case: the tokenizer that OpenAI's CLIP was trained with.
	OpenAI Cleaning = "openai"
	// OpenCLIP is OpenAI's but for the words that begin and end a text:
	// open_clip's clean "lower", its default.
	OpenCLIP Cleaning = "lower"
	// Whitespace keeps case: open_clip's clean "whitespace".
	Whitespace Cleaning = "whitespace"
	// Canonicalize drops case and ASCII's punctuation: open_clip's clean
	// "canonicalize".
	Canonicalize Cleaning = "canonicalize"
)

// Cleanings are all of them.
func Cleanings() []Cleaning {
	return []Cleaning{Transformers, OpenAI, OpenCLIP, Whitespace, Canonicalize}
}

// Cleaned is the tokenizer with another cleaning than transformers'. It then
// reads a text as OpenAI's and open_clip's SimpleTokenizer do, which know no
// added tokens but those that begin and end a text, and pad nothing.
func (c *CLIP) Cleaned(how Cleaning) (*CLIP, error) {
	if c.simple() {
		return nil, fmt.Errorf("cleaning %q: the tokenizer cleans as %q already", how, c.clean)
	}
	if !slices.Contains(Cleanings(), how) {
		return nil, fmt.Errorf("cleaning %q: want one of %v", how, Cleanings())
	}
	out := *c
	if c.plain != nil {
		plain, err := c.plain.Cleaned(how)
		if err != nil {
			return nil, err
		}
		out.plain = plain
	}
	t := *c.t
	t.words = slices.Clone(t.words)
	out.t, out.clean = &t, how
	if out.simple() {
		t.normalize = keep
		t.added = slices.DeleteFunc(slices.Clone(t.added), func(a token) bool {
			return !slices.ContainsFunc(c.learned, func(l Learned) bool { return a.id >= l.First && a.id < l.First+int32(l.Vectors) })
		})
	}
	t.build(out.patterns())
	return &out, nil
}

// simple is whether the tokenizer reads as SimpleTokenizer does.
func (c *CLIP) simple() bool { return c.clean != "" && c.clean != Transformers }

// patterns is the form in which added tokens are looked for.
func (c *CLIP) patterns() func(*pace, string) *aligned {
	if c.clean == Whitespace {
		return keep
	}
	return normalizeCLIP
}

// clean is the text as the words are looked for in.
func clean(p *pace, how Cleaning, text string) string {
	if how == Transformers || how == "" {
		return text
	}
	text = unescapeHTML(unescapeHTML(fixText(p, text)))
	if how == Canonicalize {
		text = strings.Map(func(r rune) rune {
			switch {
			case r == '_':
				return ' '
			case r > ' ' && r < 0x7f && !isLetter(r) && !isNumber(r):
				return -1
			}
			return r
		}, text)
		return oneSpace(lowerText(text))
	}
	text = oneSpace(text)
	if how == Whitespace {
		return text
	}
	return lowerText(text)
}

// oneSpace is " ".join(text.split()) of Python.
func oneSpace(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }), " ")
}

// lowerText is str.lower of Python, which knows a final sigma: one behind a
// letter and before none, signs inside of words left out.
func lowerText(text string) string {
	if ascii(text) {
		return strings.ToLower(text)
	}
	var out strings.Builder
	behind := false // a letter that has case
	for i, r := range text {
		switch {
		case r == 'Σ' && behind && !beforeCased(text[i+len("Σ"):]):
			out.WriteRune('ς')
		case r == 'İ':
			out.WriteString("i\u0307")
		default:
			out.WriteRune(unicode.ToLower(r))
		}
		if !caseIgnorable(r) {
			behind = cased(r)
		}
	}
	return out.String()
}

func beforeCased(text string) bool {
	for _, r := range text {
		if !caseIgnorable(r) {
			return cased(r)
		}
	}
	return false
}

func cased(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Uppercase, unicode.Other_Lowercase)
}

func caseIgnorable(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) ||
		strings.ContainsRune("'.:\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a", r)
}

// keep is the normal form of a text that is clean already.
func keep(p *pace, s string) *aligned {
	a := newAligned(len(s))
	for i, r := range s {
		if p.stop() {
			break
		}
		a.add(r, int32(i))
	}
	return a
}

// special is the id of a piece that begins or ends a text, as the family
// spells it.
func (c *CLIP) special(p string) (int32, bool) {
	words := [2]string{"<|startoftext|>", "<|endoftext|>"}
	if c.clean != OpenAI {
		words = [2]string{"<start_of_text>", "<end_of_text>"}
	}
	switch p {
	case words[0]:
		return c.BOS, true
	case words[1]:
		return c.EOS, true
	}
	return 0, false
}
