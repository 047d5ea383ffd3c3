package ptx

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The parsed form: what the text says, before any of it is decoded. Function
// bodies stay as statements, because a call is inlined by decoding the callee's
// statements again in the caller's place.

type operandKind uint8

const (
	opName    operandKind = iota // register, special register, variable, label or "_"
	opInt                        // val
	opFloat                      // val holds the bits of a float64 (wide) or a float32
	opAddress                    // [name+val] or [val]
	opVector                     // list
	opPair                       // list[0]|list[1]
	opList                       // (list), of a call
)

type operand struct {
	kind operandKind
	name string
	not  bool // !name
	wide bool // a float immediate of 64 bits
	val  int64
	list []operand
}

func (o operand) String() string {
	switch o.kind {
	case opInt:
		return strconv.FormatInt(o.val, 10)
	case opFloat:
		return fmt.Sprintf("0x%x", uint64(o.val))
	case opAddress:
		if o.name == "" {
			return fmt.Sprintf("[%d]", o.val)
		}
		return fmt.Sprintf("[%s+%d]", o.name, o.val)
	case opVector, opPair, opList:
		var s []string
		for _, e := range o.list {
			s = append(s, e.String())
		}
		switch o.kind {
		case opVector:
			return "{" + strings.Join(s, ", ") + "}"
		case opPair:
			return strings.Join(s, "|")
		}
		return "(" + strings.Join(s, ", ") + ")"
	}
	if o.not {
		return "!" + o.name
	}
	return o.name
}

type stmtKind uint8

const (
	stInstr stmtKind = iota
	stLabel
	stOpen
	stClose
	stReg
	stVar
	stTargets // label: .branchtargets list
)

type stmt struct {
	kind    stmtKind
	line    int
	name    string // opcode with its modifiers, label, or register
	pred    string
	predNot bool
	args    []operand
	typ     string // of a register
	count   int    // of registers name0 ... name<count-1>, 0: name itself
	v       *variable
}

func (s *stmt) text() string {
	var b strings.Builder
	if s.pred != "" {
		b.WriteByte('@')
		if s.predNot {
			b.WriteByte('!')
		}
		b.WriteString(s.pred + " ")
	}
	b.WriteString(s.name)
	for i, a := range s.args {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(" " + a.String())
	}
	return b.String()
}

// A variable lives in .global, .const, .shared, .local or .param.
type variable struct {
	name   string
	space  string
	line   int
	align  int
	size   int // bytes; 0 with open: the dynamic shared memory
	open   bool
	extern bool
	init   []byte
	relocs []reloc
}

// A reloc is an address in an initialiser.
type reloc struct {
	at     int
	size   int
	symbol string
	add    int64
}

type function struct {
	name    string
	line    int
	entry   bool
	proto   bool
	ret     []*variable
	params  []*variable
	body    []stmt
	threads int // .maxntid or .reqntid, 0 where neither stands
}

type file struct {
	vars  []*variable
	funcs []*function
}

type parser struct {
	toks []token
	pos  int
	out  file
}

// parse reads a module. It never panics, whatever the text.
func parse(text string) (f *file, err error) {
	toks, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{toks: toks}
	defer catch(&err)
	p.module()
	return &p.out, nil
}

// catch turns the parser's and decoder's panics with a *ParseError into errors.
func catch(err *error) {
	switch e := recover().(type) {
	case nil:
	case *ParseError:
		*err = e
	default:
		panic(e)
	}
}

func failAt(line int, text, format string, args ...any) {
	panic(&ParseError{line, text, fmt.Sprintf(format, args...)})
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) next() token {
	t := p.toks[p.pos]
	if t.kind != tokEOF {
		p.pos++
	}
	return t
}

func (p *parser) is(s string) bool {
	t := p.peek()
	return t.text == s && (t.kind == tokPunct || t.kind == tokWord)
}

func (p *parser) accept(s string) bool {
	if p.is(s) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expect(s string) {
	if t := p.next(); t.text != s || t.kind == tokString {
		failAt(t.line, t.text, "expected %q", s)
	}
}

func (p *parser) word() token {
	t := p.next()
	if t.kind != tokWord {
		failAt(t.line, t.text, "expected a name")
	}
	return t
}

func (p *parser) module() {
	version := false
	for p.peek().kind != tokEOF {
		t := p.next()
		switch t.text {
		case ".version":
			n := p.next()
			v, err := strconv.ParseFloat(n.text, 64)
			if err != nil || v < 6 || v >= 9 {
				failAt(n.line, n.text, "PTX version outside 6.0 to 8.x")
			}
			version = true
		case ".target":
			for {
				w := p.word()
				if strings.HasPrefix(w.text, "sm_") {
					n, err := strconv.Atoi(strings.TrimRight(w.text[3:], "af"))
					if err != nil || n > 90 {
						failAt(w.line, w.text, "target later than sm_90")
					}
				}
				if !p.accept(",") {
					break
				}
			}
		case ".address_size":
			if n := p.next(); n.text != "64" {
				failAt(n.line, n.text, "only 64-bit addresses")
			}
		case ".file", ".loc":
			p.skipLine(t.line)
		case ".section":
			p.skipBraces()
		case ".pragma":
			p.skipTo(";")
		case ";":
		default:
			p.pos--
			p.declaration()
		}
	}
	if !version {
		failAt(1, "", "no .version")
	}
}

func (p *parser) skipLine(line int) {
	for p.peek().kind != tokEOF && p.peek().line == line {
		p.pos++
	}
}

func (p *parser) skipTo(s string) {
	for !p.accept(s) {
		if t := p.next(); t.kind == tokEOF {
			failAt(t.line, "", "expected %q before the end of the file", s)
		}
	}
}

func (p *parser) skipBraces() {
	for !p.accept("{") {
		if t := p.next(); t.kind == tokEOF {
			failAt(t.line, "", "expected { before the end of the file")
		}
	}
	p.skipTo("}")
}

func (p *parser) declaration() {
	extern := false
	for {
		t := p.peek()
		switch t.text {
		case ".extern":
			extern = true
			p.pos++
		case ".visible", ".weak", ".common":
			p.pos++
		case ".entry", ".func":
			p.pos++
			p.function(t.text == ".entry", extern)
			return
		case ".global", ".const", ".shared":
			p.pos++
			for _, v := range p.variables(t.text[1:]) {
				v.extern = extern
				p.out.vars = append(p.out.vars, v)
			}
			return
		default:
			failAt(t.line, t.text, "expected a declaration")
		}
	}
}

// typeSize gives the bytes of a type without its dot; 0: no type. A predicate has none.
func typeSize(t string) int {
	switch t {
	case "b8", "u8", "s8":
		return 1
	case "b16", "u16", "s16", "f16", "bf16":
		return 2
	case "b32", "u32", "s32", "f32", "f16x2", "bf16x2", "tf32":
		return 4
	case "b64", "u64", "s64", "f64":
		return 8
	case "b128":
		return 16
	}
	return 0
}

// variables reads "[.align n] [.vN] .type name[dims] [= init], ... ;" after the space.
func (p *parser) variables(space string) []*variable {
	var vs []*variable
	proto := variable{space: space}
	elem := p.varType(&proto)
	for {
		v := proto
		p.varName(&v, elem)
		if p.accept("=") {
			p.initialiser(&v, elem)
		}
		vs = append(vs, &v)
		if !p.accept(",") {
			break
		}
	}
	p.expect(";")
	return vs
}

// varType reads the attributes and the type; it gives the element's name.
func (p *parser) varType(v *variable) (elem string) {
	vec := 1
	for elem == "" {
		t := p.word()
		switch {
		case t.text == ".align":
			v.align = int(p.integer())
			if v.align < 1 || v.align > 1<<16 || v.align&(v.align-1) != 0 {
				failAt(t.line, t.text, "not a power of two up to 65536")
			}
		case t.text == ".v2":
			vec = 2
		case t.text == ".v4":
			vec = 4
		case t.text == ".ptr", t.text == ".global", t.text == ".const", t.text == ".shared", t.text == ".local":
		case t.text == ".attribute":
			p.expect("(")
			p.skipTo(")")
		case strings.HasPrefix(t.text, ".") && typeSize(t.text[1:]) > 0:
			elem = t.text[1:]
		default:
			failAt(t.line, t.text, "not a type")
		}
	}
	v.size = vec * typeSize(elem)
	if v.align == 0 {
		v.align = v.size
	}
	return elem
}

// varName reads the name and the array's dimensions. A kernel's parameter may
// have .ptr attributes between its type and its name.
func (p *parser) varName(v *variable, elem string) {
	for p.is(".ptr") || p.is(".global") || p.is(".const") || p.is(".shared") || p.is(".local") || p.is(".align") {
		if p.next().text == ".align" {
			p.integer()
		}
	}
	t := p.word()
	if strings.HasPrefix(t.text, ".") {
		failAt(t.line, t.text, "expected a name")
	}
	v.name, v.line = t.text, t.line
	for p.accept("[") {
		if p.accept("]") {
			v.open, v.size = true, 0
			continue
		}
		n := p.integer()
		p.expect("]")
		if n < 0 || n > 1<<32 || v.size > 0 && n > (1<<32)/int64(v.size) {
			failAt(t.line, t.text, "array too large")
		}
		v.size *= int(n)
	}
}

func (p *parser) initialiser(v *variable, elem string) {
	size := typeSize(elem)
	var data []byte
	var scalar func()
	scalar = func() {
		t := p.peek()
		if p.accept("{") {
			for !p.accept("}") {
				scalar()
				if !p.accept(",") {
					p.expect("}")
					break
				}
			}
			return
		}
		if len(data) > 1<<28 {
			failAt(t.line, t.text, "initialiser too large")
		}
		if t.kind == tokWord {
			p.pos++
			r := reloc{at: len(data), size: size, symbol: t.text}
			if t.text == "generic" {
				p.expect("(")
				r.symbol = p.word().text
				p.expect(")")
			}
			if p.accept("+") {
				r.add = p.integer()
			}
			v.relocs = append(v.relocs, r)
			data = append(data, make([]byte, size)...)
			return
		}
		o := p.constant()
		bits := uint64(o.val)
		if o.kind == opFloat {
			bits = floatBits(o, size*8)
		}
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], bits)
		data = append(data, b[:size]...)
	}
	scalar()
	if v.open {
		v.open, v.size = false, len(data)
	}
	if len(data) > v.size {
		failAt(v.line, v.name, "initialiser of %d bytes for a variable of %d", len(data), v.size)
	}
	v.init = data
}

// floatBits gives a float immediate as the bits of a type of 16, 32 or 64 bits.
func floatBits(o operand, bits int) uint64 {
	if !o.wide {
		if bits == 64 {
			return math.Float64bits(float64(math.Float32frombits(uint32(o.val))))
		}
		return uint64(uint32(o.val))
	}
	if bits == 64 {
		return uint64(o.val)
	}
	return uint64(math.Float32bits(float32(math.Float64frombits(uint64(o.val)))))
}

func (p *parser) integer() int64 {
	t := p.peek()
	o := p.constant()
	if o.kind != opInt {
		failAt(t.line, t.text, "expected an integer")
	}
	return o.val
}

// constant reads a number with its sign, or a sum of such.
func (p *parser) constant() operand {
	o := p.factor(0)
	for o.kind == opInt && (p.is("+") || p.is("-") || p.is("*")) {
		op := p.next().text
		t := p.peek()
		r := p.factor(0)
		if r.kind != opInt {
			failAt(t.line, t.text, "expected an integer")
		}
		switch op {
		case "+":
			o.val += r.val
		case "-":
			o.val -= r.val
		case "*":
			o.val *= r.val
		}
	}
	return o
}

func (p *parser) factor(depth int) operand {
	t := p.next()
	if depth > 100 {
		failAt(t.line, t.text, "expression too deep")
	}
	if t.kind == tokPunct {
		switch t.text {
		case "-":
			o := p.factor(depth + 1)
			switch {
			case o.kind == opInt:
				o.val = -o.val
			case o.wide:
				o.val ^= math.MinInt64
			default:
				o.val ^= 1 << 31
			}
			return o
		case "+":
			return p.factor(depth + 1)
		case "~":
			o := p.factor(depth + 1)
			if o.kind == opInt {
				o.val = ^o.val
				return o
			}
		}
	}
	if t.kind == tokWord && t.text == "WARP_SZ" {
		return operand{kind: opInt, val: 32}
	}
	if t.kind != tokNumber {
		failAt(t.line, t.text, "expected a number")
	}
	o, err := number(t.text)
	if err != nil {
		failAt(t.line, t.text, "not a number of PTX")
	}
	return o
}

func number(s string) (operand, error) {
	if len(s) > 2 && s[0] == '0' {
		switch s[1] {
		case 'f', 'F':
			v, err := strconv.ParseUint(s[2:], 16, 32)
			if err == nil && len(s) != 10 {
				err = strconv.ErrSyntax
			}
			return operand{kind: opFloat, val: int64(v)}, err
		case 'd', 'D':
			v, err := strconv.ParseUint(s[2:], 16, 64)
			if err == nil && len(s) != 18 {
				err = strconv.ErrSyntax
			}
			return operand{kind: opFloat, wide: true, val: int64(v)}, err
		}
	}
	if strings.Contains(s, ".") || decimal(s) && strings.ContainsAny(s, "eE") {
		v, err := strconv.ParseFloat(s, 64)
		return operand{kind: opFloat, wide: true, val: int64(math.Float64bits(v))}, err
	}
	s = strings.TrimRight(s, "U")
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		s, base = s[2:], 16
	case strings.HasPrefix(s, "0b"), strings.HasPrefix(s, "0B"):
		s, base = s[2:], 2
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	v, err := strconv.ParseUint(s, base, 64)
	return operand{kind: opInt, val: int64(v)}, err
}

func (p *parser) function(entry, extern bool) {
	f := &function{entry: entry}
	if !entry && p.is("(") {
		f.ret = p.params()
	}
	t := p.word()
	f.name, f.line = t.text, t.line
	if p.is("(") {
		f.params = p.params()
	}
	for {
		t := p.peek()
		switch t.text {
		case ".maxntid", ".reqntid":
			p.pos++
			n := p.integer()
			for p.accept(",") {
				n *= p.integer()
			}
			if n < 1 || n > 1024 {
				failAt(t.line, t.text, "%d threads in a block", n)
			}
			f.threads = int(n)
		case ".maxnreg", ".minnctapersm", ".maxnctapersm", ".maxclusterrank":
			p.pos++
			p.integer()
		case ".reqnctapercluster":
			failAt(t.line, t.text, "clusters of blocks are not supported")
		case ".noreturn":
			p.pos++
		case ".pragma":
			p.skipTo(";")
		case ".attribute":
			p.pos++
			p.expect("(")
			p.skipTo(")")
		case ";":
			p.pos++
			f.proto = true
			p.out.funcs = append(p.out.funcs, f)
			return
		case "{":
			p.pos++
			p.body(f)
			p.out.funcs = append(p.out.funcs, f)
			return
		default:
			failAt(t.line, t.text, "expected the body of %s", f.name)
		}
	}
}

func (p *parser) params() []*variable {
	var vs []*variable
	p.expect("(")
	for !p.accept(")") {
		t := p.next()
		if t.text != ".param" {
			failAt(t.line, t.text, "expected .param")
		}
		v := &variable{space: "param"}
		elem := p.varType(v)
		p.varName(v, elem)
		if v.open {
			failAt(t.line, v.name, "parameter of unknown size")
		}
		vs = append(vs, v)
		if !p.accept(",") {
			p.expect(")")
			break
		}
	}
	return vs
}

func (p *parser) body(f *function) {
	depth := 1
	for {
		t := p.next()
		s := stmt{line: t.line, name: t.text}
		switch {
		case t.kind == tokEOF:
			failAt(t.line, "", "function %s has no end", f.name)
		case t.text == "{":
			depth++
			s.kind = stOpen
		case t.text == "}":
			depth--
			if depth == 0 {
				return
			}
			s.kind = stClose
		case t.text == ";":
			continue
		case t.text == ".reg":
			p.registers(f, t.line)
			continue
		case t.text == ".local", t.text == ".shared", t.text == ".param", t.text == ".const", t.text == ".global":
			for _, v := range p.variables(t.text[1:]) {
				f.body = append(f.body, stmt{kind: stVar, line: t.line, name: v.name, v: v})
			}
			continue
		case t.text == ".extern":
			sp := p.word()
			if sp.text != ".shared" {
				failAt(sp.line, sp.text, "only shared memory may be extern in a function")
			}
			for _, v := range p.variables("shared") {
				v.extern = true
				f.body = append(f.body, stmt{kind: stVar, line: t.line, name: v.name, v: v})
			}
			continue
		case t.text == ".loc":
			p.skipLine(t.line)
			continue
		case t.text == ".pragma":
			p.skipTo(";")
			continue
		case t.text == "@":
			s.predNot = p.accept("!")
			s.pred = p.word().text
			p.instruction(&s, p.word())
		case t.kind == tokWord && p.is(":"):
			p.pos++
			if p.accept(".branchtargets") {
				s.kind = stTargets
				for {
					s.args = append(s.args, operand{name: p.word().text})
					if !p.accept(",") {
						break
					}
				}
				p.expect(";")
			} else {
				s.kind = stLabel
			}
		case t.kind == tokWord && !strings.HasPrefix(t.text, "."):
			p.instruction(&s, t)
		default:
			failAt(t.line, t.text, "not a statement")
		}
		f.body = append(f.body, s)
	}
}

func (p *parser) registers(f *function, line int) {
	typ := p.word()
	if typ.text != ".pred" && typeSize(strings.TrimPrefix(typ.text, ".")) == 0 || typ.text == ".b128" {
		failAt(typ.line, typ.text, "not a type of registers")
	}
	for {
		n := p.word()
		s := stmt{kind: stReg, line: line, name: n.text, typ: typ.text[1:]}
		if p.accept("<") {
			c := p.integer()
			if c < 0 || c > 1<<24 {
				failAt(line, n.text, "%d registers", c)
			}
			s.count = int(c)
			p.expect(">")
			if c == 0 {
				s.count = -1
			}
		}
		f.body = append(f.body, s)
		if !p.accept(",") {
			break
		}
	}
	p.expect(";")
}

func (p *parser) instruction(s *stmt, op token) {
	s.name = op.text
	if name, _, _ := strings.Cut(op.text, "."); decoders[name] == nil {
		failAt(op.line, op.text, "unknown instruction")
	}
	if p.accept(";") {
		return
	}
	for {
		s.args = append(s.args, p.operand(0))
		if !p.accept(",") {
			break
		}
	}
	t := p.next()
	if t.text != ";" {
		failAt(t.line, op.text, "unexpected %q", t.text)
	}
}

func (p *parser) operand(depth int) operand {
	t := p.peek()
	if depth > 8 {
		failAt(t.line, t.text, "operand too deep")
	}
	list := func(end string) (l []operand) {
		for !p.accept(end) {
			l = append(l, p.operand(depth+1))
			if !p.accept(",") {
				p.expect(end)
				break
			}
		}
		return l
	}
	switch {
	case p.accept("{"):
		return operand{kind: opVector, list: list("}")}
	case p.accept("("):
		return operand{kind: opList, list: list(")")}
	case p.accept("["):
		o := operand{kind: opAddress}
		if p.peek().kind == tokWord && !p.is("WARP_SZ") {
			o.name = p.word().text
			if p.is("+") || p.is("-") {
				o.val = p.constant().val
			}
		} else {
			o.val = p.integer()
		}
		p.expect("]")
		return o
	case p.accept("!"):
		return operand{name: p.word().text, not: true}
	case t.kind == tokWord && t.text != "WARP_SZ":
		p.pos++
		o := operand{name: t.text}
		if p.accept("|") {
			return operand{kind: opPair, list: []operand{o, {name: p.word().text}}}
		}
		if p.is("+") || p.is("-") { // symbol+offset
			o.val = p.constant().val
		}
		return o
	}
	return p.constant()
}
