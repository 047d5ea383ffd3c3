package ptx

import (
	"fmt"
	"strconv"
	"strings"
)

// A ParseError says what in a PTX text was not understood, and where.
type ParseError struct {
	Line int    // 1 is the first
	Text string // the opcode or token, may be empty
	What string
}

func (e *ParseError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("ptx: line %d: %s", e.Line, e.What)
	}
	return fmt.Sprintf("ptx: line %d: %s: %s", e.Line, e.Text, e.What)
}

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokWord
	tokNumber
	tokString
	tokPunct
)

type token struct {
	kind tokenKind
	text string
	line int
}

// lex cuts a text into tokens. A word takes its dots with it ("ld.global.v4.f32",
// "%tid.x", ".reg") and the double colons inside modifiers ("shared::cta").
func lex(text string) ([]token, error) {
	var toks []token
	line := 1
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v' || c == 0:
			i++
		case strings.HasPrefix(text[i:], "//"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				return nil, &ParseError{line, "", "comment without end"}
			}
			line += strings.Count(text[i:i+2+end], "\n")
			i += end + 4
		case c == '"':
			j := i + 1
			for j < len(text) && text[j] != '"' && text[j] != '\n' {
				j++
			}
			if j >= len(text) || text[j] != '"' {
				return nil, &ParseError{line, "", "string without end"}
			}
			toks = append(toks, token{tokString, text[i+1 : j], line})
			i = j + 1
		case isDigit(c):
			j := i + 1
			for j < len(text) && (isWordByte(text[j]) || text[j] == '.' ||
				(text[j] == '+' || text[j] == '-') && (text[j-1] == 'e' || text[j-1] == 'E') && decimal(text[i:j])) {
				j++
			}
			toks = append(toks, token{tokNumber, text[i:j], line})
			i = j
		case isWordByte(c) || c == '%' || c == '.':
			j := i + 1
			for j < len(text) {
				if isWordByte(text[j]) || text[j] == '.' {
					j++
				} else if strings.HasPrefix(text[j:], "::") && j+2 < len(text) && isWordByte(text[j+2]) {
					j += 3
				} else {
					break
				}
			}
			toks = append(toks, token{tokWord, text[i:j], line})
			i = j
		case strings.IndexByte(",;:[]{}()<>=+-*/!|@&^~?", c) >= 0:
			toks = append(toks, token{tokPunct, text[i : i+1], line})
			i++
		default:
			return nil, &ParseError{line, strconv.QuoteRune(rune(c)), "not a character of PTX"}
		}
	}
	return append(toks, token{tokEOF, "end of file", line}), nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// decimal reports whether the beginning of a number rules out 0x, 0f and 0d.
func decimal(s string) bool {
	return len(s) < 2 || s[0] != '0' || isDigit(s[1]) || s[1] == '.'
}
