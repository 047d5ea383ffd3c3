package ptb

import "strings"

// Pieces of the rules. Curly quotes and dashes also come as the control
// characters that they are in Windows' code page 1252.
const (
	lett  = `[\x{F0000}\x{1885}\x{1886}]`
	digit = `[\x{F0001}\x{07C0}-\x{07C9}]`
	// letter has, besides \p{L}, the marks that words of other scripts hold, the
	// soft hyphen and accented letters as HTML writes them.
	letter = `(?:[\x{F0000}\x{F0003}]|&[aeiouAEIOU](?:acute|grave|uml);)`
	alnum  = `(?:` + lett + `|` + digit0 + `)`
	// digit0 is the digit of words with hyphens, where N'Ko's are letters.
	digit0 = `\x{F0001}`

	anyUnit = `[\x{0}-\x{FFFF}]`
	space   = `[ \t\x{A0}\x{2000}-\x{200A}\x{3000}]`
	newline = `(?:\r|\r?\n|\x{2028}|\x{2029}|\x{0B}|\x{0C}|\x{85})`
	spaceNL = `(?:` + space + `|` + newline + `)`
	sgml    = `<(?:[!?][A-Za-z\-][^>\r\n]*|[A-Za-z][A-Za-z0-9_:.\-]*(?:[ ]+(?:[A-Za-z][A-Za-z0-9_:.\-]*|` +
		`[A-Za-z][A-Za-z0-9_:.\-]*[ ]*=[ ]*(?:'[^']*'|"[^"]*")))*[ ]*/?|/[A-Za-z][A-Za-z0-9_:.\-]*)[ ]*>`
	sentenceEnd = spaceNL + `(?:` + spaceNL + `|\x{F0002}|` + sgml + `)`

	apostrophe = `(?:['\x{92}\x{2019}]|&apos;)`
	// quote1 also has the opening quotes that people type for apostrophes.
	quote1 = `(?:` + apostrophe + "|[`\\x{91}\\x{2018}\\x{201B}])"
	// clitic is 's, 'm, 'd, 're, 've or 'll, cut off a word; notClitic n't.
	clitic    = apostrophe + `(?:[msdMSD]|re|ve|ll)`
	notClitic = `n` + quote1 + `t`

	word   = letter + `(?:` + letter + `|` + digit + `)*(?:[.!?]` + letter + `(?:` + letter + `|` + digit + `)*)*`
	number = `[\-+]?(?:` + digit + `+|` + digit + `*(?:[.:,\x{AD}\x{066B}\x{066C}]` + digit + `+)+)`
	hyphen = `[\-_\x{058A}\x{2010}\x{2011}]`
	// elided is d', o' or l' before a letter, as in d'Artagnan.
	elided     = `(?:[dDoOlL]` + quote1 + alnum + `)?`
	hyphenated = elided + alnum + `+(?:` + hyphen + elided + alnum + `+)*`
	withComma  = `[A-Za-z0-9][A-Za-z0-9.,\x{AD}]*(?:-(?:[A-Za-z0-9\x{AD}]+|` + acronym2 + `\.))+`
	initials   = `[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+`

	abroad   = `(?:Canada|Sino|Korean|EU|Japan|non)-U\.S|U\.S\.-(?:U\.K|U\.S\.S\.R)`
	acronym  = `(?:[A-Za-z](?:\.[A-Za-z])*|` + abroad + `)`
	acronym2 = `(?:[A-Za-z](?:\.[A-Za-z])+|` + abroad + `)`

	// Abbreviations that lower-case words follow, so that an upper-case one
	// begins a sentence; brackets keep a letter's case.
	months = `Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec`
	days   = `Mon|Tue|Tues|Wed|Thu|Thurs|Fri`
	states = `Ala|Ariz|[A]z|[A]rk|Calif|Colo|Conn|Ct|Dak|[D]el|Fla|Ga|[I]ll|Ind|Kans?|Ky|[L]a|[M]ass|Md|Mich|Minn|[M]iss|Mo|Mont` +
		`|Neb|Nev|Okla|[O]re|[P]a|Penn|Tenn|[T]ex|Va|Vt|[W]ash|Wisc?|Wyo`
	companies = `Inc|Cos?|Corp|Pp?t[ye]s?|Ltd|Plc|Rt|Bancorp|Bhd|Assn|Univ|Intl|Sys`
	ranks     = `Jr|Sr|Bros|(?:Ed|Ph)\.D|Blvd|Rd|Esq`
	before    = `(?:` + months + `|` + days + `|` + states + `|` + companies + `|tel|est|ext|sq|` + ranks + `|etc|al|seq|Bldg)\.`
	// Abbreviations that names follow: no sentence ends with them.
	titles = `Mr|Mrs|Ms|[M]iss|Drs?|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Ste?|Ave|Pres` +
		`|Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Mt|Ft|Adj|Adv|Asst|Assoc|Ens|Insp|Mlle|Mme|Msgr|Sfc`
	named = `(?:` + titles + `|vs|Alex|Wm|Jos|Cie|a\.k\.a|cf|TREAS|Ph|` + acronym + `|Invt|Elec|Natl|M[ft]g|Dept)`
	// Abbreviations only before numbers.
	numbered = `(?:ca|figs?|prop|nos?|art|bldg|pp|op)\.`
	// What begins a sentence after an acronym.
	openers = `(?:[A]bout|[A]ccording|[A]dditionally|[A]fter|[A]n|[A]|[A]s|[A]t|[B]ut|[E]arlier|[H]e|[H]er|[H]ere|[H]owever|[I]f|[I]n` +
		`|[I]t|[L]ast|[M]any|[M]ore|[M]r\.|[M]s\.|` +
		`[N]ow|[O]nce|[O]ne|[O]ther|[O]ur|[S]he|[S]ince|[S]o|[S]ome|[S]uch|[T]hat|[T]he|[T]heir|[T]hen|[T]here|[T]hese|[T]hey|[T]his` +
		`|[W]e|[W]hen|[W]hile|[W]hat|[Y]et|[Y]ou|` + sgml + `)`

	apostrophes = apostrophe + `n` + apostrophe + `?|[lLdDjJ]` + apostrophe + `|Dunkin` + apostrophe + `|somethin` + apostrophe +
		`|ol` + apostrophe +
		`|` + apostrophe + `em|[A-HJ-XZn]` + quote1 + lett + `{2}` + lett + `*|` + apostrophe + `[2-9]0s|` + apostrophe + `till?|` +
		lett + lett + `*[aeiouyAEIOUY]` + quote1 + `[aeiouA-Z]` + lett + `*|` + apostrophe +
		`cause|cont'd\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|O` + quote1 + `o`

	url     = "https?://[^ \\t\\n\\f\\r\"<>|(){}]+[^ \\t\\n\\f\\r\"<>|.!?(){},\\-]"
	urlPath = "(?:/[^ \\t\\n\\f\\r\"<>|()]+[^ \\t\\n\\f\\r\"<>|.!?(){},\\-])?"
	// The second range, from comma to underscore, is the reference's.
	likelyURL = "(?:www\\.(?:[^ \\t\\n\\f\\r\"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}|" +
		"(?:[^ \\t\\n\\f\\r\"`'<>|.!?(){},-_$]+\\.)+(?:com|net|org|edu))" + urlPath
	email = `(?:&lt;|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\x{A0}{}]*@(?:[^ \t\n\f\r"<>|(){}.\x{A0}]+\.)*[^ \t\n\f\r"<>|(){}.` +
		`\x{A0}]+(?:&gt;|>)?`
	twitter   = `@[a-zA-Z_][a-zA-Z_0-9]*|#` + letter + `+`
	extension = `bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql` +
		`|tar|txt|wav|x|xml|zip`
	filename = `(?:` + letter + `|` + digit + `)+(?:\.(?:` + letter + `|` + digit + `)+)*\.(?:` + extension + `)`

	phone = `(?:\([0-9]{2,3}\)[ \x{A0}]?|(?:\+\+?)?(?:[0-9]{2,4}[\- \x{A0}])?[0-9]{2,4}[\- \x{A0}])[0-9]{3,4}[\- \x{A0}]?[0-9]{3,5}|` +
		`(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}`
	fraction = `(?:` + digit + `{1,4}[\- \x{A0}])?` + digit + `{1,4}(?:\\?/|\x{2044})` + digit + `{1,4}`
	slashed  = `[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}`
	treebank = `-(?:RRB|LRB|RCB|LCB|RSB|LSB)-|C\.D\.s|pro-|anti-|S(?:&|&amp;)P-500|S(?:&|&amp;)Ls|Cap` + apostrophe + `n|c` +
		apostrophe + `est`
	smiley     = `[<>]?[:;=][\-o*']?[()DPdpO\\{@|\[\]]`
	eastSmiley = `[\^x=~<>]\.\[\^x=~<>\]|[\-\^x=~<>']_[\-\^x=~<>']|\([\-\^x=~<>'][_.]?[\-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'` + "`" + `]\)`
	comma      = `[,;:\x{3001}]`
	quotes     = apostrophe + `|''|[` + "`" + `\x{2018}\x{2019}\x{201A}\x{201B}\x{201C}\x{201D}\x{91}-\x{94}\x{201E}\x{201F}\x{2039}` +
		`\x{203A}\x{AB}\x{BB}]{1,2}`
	symbols = `[+%&~\^|\\\x{A6}\x{A7}\x{A8}\x{A9}\x{AC}\x{AE}\x{AF}\x{B0}-\x{BA}\x{D7}\x{F7}\x{0387}\x{05BE}\x{05C0}\x{05C3}` +
		`\x{05C6}\x{05F3}\x{05F4}` +
		`\x{0600}-\x{0603}\x{0606}-\x{060A}\x{060C}\x{0614}\x{061B}\x{061E}\x{066A}\x{066D}\x{0703}-\x{070D}\x{07F6}-\x{07F8}\x{0964}` +
		`\x{0965}\x{0E4F}` +
		`\x{1FBD}\x{2016}\x{2017}\x{2020}-\x{2023}\x{2030}-\x{2038}\x{203B}\x{203E}-\x{2042}\x{2044}\x{207A}-\x{207F}\x{208A}-\x{208E}` +
		`\x{2100}-\x{214F}` +
		`\x{2190}-\x{21FF}\x{2200}-\x{2BFF}\x{3012}\x{30FB}\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF20}\x{FF3B}-\x{FF40}\x{FF5B}-\x{FF65}]`
)

// newer are letters and digits that Unicode has got since the reference was made.
const newer = `\x{037F}\x{0528}-\x{052F}\x{0560}\x{0588}\x{05EF}\x{0860}-\x{086A}\x{0870}-\x{0887}\x{0889}-\x{088E}\x{08A1}` +
	`\x{08AD}-\x{08C9}\x{0978}\x{0980}\x{09FC}\x{0AF9}\x{0C34}\x{0C5A}\x{0C5D}\x{0C80}\x{0CDD}\x{0D04}\x{0D54}-\x{0D56}` +
	`\x{0D5F}\x{0DE6}-\x{0DEF}\x{0E86}\x{0E89}\x{0E8C}\x{0E8E}-\x{0E93}\x{0E98}\x{0EA0}\x{0EA8}-\x{0EA9}\x{0EAC}\x{13F5}` +
	`\x{13F8}-\x{13FD}\x{16F1}-\x{16F8}\x{170D}\x{171F}\x{1878}\x{191D}-\x{191E}\x{19B0}-\x{19C0}\x{19C8}-\x{19C9}\x{1B4C}` +
	`\x{1C80}-\x{1C88}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1CF2}-\x{1CF3}\x{1CFA}\x{2C2F}\x{2C5F}\x{312E}-\x{312F}` +
	`\x{31BB}-\x{31BF}\x{4DB6}-\x{4DBF}\x{9FCD}-\x{9FFF}\x{A698}-\x{A69D}\x{A78F}\x{A794}-\x{A79F}\x{A7AB}-\x{A7CA}` +
	`\x{A7D0}-\x{A7D1}\x{A7D3}\x{A7D5}-\x{A7D9}\x{A7F2}-\x{A7F7}\x{A8FD}-\x{A8FE}\x{A9E0}-\x{A9E4}\x{A9E6}-\x{A9FE}` +
	`\x{AA7E}-\x{AA7F}\x{AB30}-\x{AB5A}\x{AB5C}-\x{AB69}\x{AB70}-\x{ABBF}`

// sets are named in patterns by \x{F0000} and what follows it: letters, digits,
// upper-case letters, and what else words hold: marks of other scripts and the
// soft hyphen.
func sets() []string {
	return []string{
		`[^\P{L}` + newer + `]`,
		`[^\P{Nd}` + newer + `]`,
		`[^\P{Lu}` + newer + `]`,
		`[\x{1885}\x{1886}\x{AD}\x{0237}-\x{024F}\x{02C2}-\x{02C5}\x{02D2}-\x{02DF}\x{02E5}-\x{02FF}\x{0300}-\x{037D}\x{0384}\x{0385}` +
			`\x{03CF}` +
			`\x{03F6}\x{03FC}-\x{03FF}\x{0483}-\x{0487}\x{04CF}\x{04F6}-\x{04FF}\x{0510}-\x{0525}\x{055A}-\x{055F}\x{0591}-\x{05BD}` +
			`\x{05BF}\x{05C1}\x{05C2}\x{05C4}\x{05C5}\x{05C7}\x{0615}-\x{061A}\x{063B}-\x{063F}\x{064B}-\x{065E}\x{0670}` +
			`\x{06D6}-\x{06EF}\x{06FA}-\x{06FF}\x{070F}\x{0711}\x{0730}-\x{074F}\x{0750}-\x{077F}\x{07A6}-\x{07B1}\x{07CA}-\x{07F5}` +
			`\x{07FA}\x{0900}-\x{0903}\x{093C}\x{093E}-\x{094E}\x{0951}-\x{0955}\x{0962}-\x{0963}\x{0981}-\x{0983}\x{09BC}-\x{09C4}` +
			`\x{09C7}\x{09C8}\x{09CB}-\x{09CD}\x{09D7}\x{09E2}\x{09E3}\x{0A01}-\x{0A03}\x{0A3C}\x{0A3E}-\x{0A4F}\x{0A81}-\x{0A83}` +
			`\x{0ABC}-\x{0ACF}\x{0B82}\x{0BBE}-\x{0BC2}\x{0BC6}-\x{0BC8}\x{0BCA}-\x{0BCD}\x{0C01}-\x{0C03}\x{0C3E}-\x{0C56}` +
			`\x{0D3E}-\x{0D44}\x{0D46}-\x{0D48}\x{0E30}-\x{0E3A}\x{0E47}-\x{0E4E}\x{0EB1}-\x{0EBC}\x{0EC8}-\x{0ECD}` +
			`]`,
	}
}

// rules are the kinds of tokens of CoreNLP 3.4.1's PTBTokenizer as the COCO
// caption tools start it, in the order in which they win.
func rules() []rule {
	// Quotes are written as LaTeX does; straight ones are what the name says.
	latex := func(straight string) func(string) string {
		return strings.NewReplacer("&apos;", straight, "'", straight, `"`, straight+straight, "&quot;", straight+straight,
			"\u0091", "`", "\u2018", "`", "\u201B", "`", "\u2039", "`", "\u0092", "'", "\u2019", "'", "\u203A", "'",
			"\u0093", "``", "\u201C", "``", "\u00AB", "``", "\u0094", "''", "\u201D", "''", "\u00BB", "''").Replace
	}
	opening, closing := latex("`"), latex("'")
	brackets := strings.NewReplacer("(", "-LRB-", ")", "-RRB-").Replace
	// Money as in the Penn Treebank: no sign for it but $ and #.
	currency := strings.NewReplacer("\u00A2", "cents", "\u00A3", "#", "\u0080", "$", "\u00A4", "$", "\u20A0", "$", "\u20AC", "$").Replace
	parts := strings.NewReplacer("\u00BC", "1/4", "\u00BD", "1/2", "\u00BE", "3/4", "\u2153", "1/3", "\u2154", "2/3").Replace
	fixed := func(s string) func(string) string { return func(string) string { return s } }
	return []rule{
		{pattern: `c[+][+]`},
		{pattern: `(?:c|f)#`},
		{pattern: `cannot`, back: 3},
		{pattern: `'twas`, back: 3},
		{pattern: `'tis`, back: 2},
		{pattern: `gonna|gotta|lemme|gimme|wanna`, back: 2},
		{pattern: sgml, emit: unbreak},
		{pattern: `&(?:MD|mdash|ndash);|[\x{96}\x{97}\x{2013}\x{2014}\x{2015}]`, emit: fixed("--")},
		{pattern: `&amp;`, emit: ampersand},
		{pattern: `&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);`},
		{pattern: word, context: clitic, emit: soft},
		{pattern: `[A-Za-z\x{AD}]*[A-MO-Za-mo-z]\x{AD}*`, context: notClitic, emit: soft},
		{pattern: word, emit: soft},
		{pattern: apostrophes},
		{pattern: `y` + apostrophe, context: lett},
		{pattern: url},
		{pattern: likelyURL},
		{pattern: email},
		{pattern: twitter},
		{pattern: clitic, context: `[^A-Za-z]`, emit: closing},
		{pattern: notClitic, context: `[^A-Za-z]`, emit: closing},
		{pattern: digit + `{1,2}[\-/]` + digit + `{1,2}[\-/]` + digit + `{2,4}`},
		{pattern: number, emit: soft},
		{pattern: `[\x{207A}\x{207B}\x{208A}\x{208B}]?(?:[\x{2070}\x{B9}\x{B2}\x{B3}\x{2074}-\x{2079}]+|[\x{2080}-\x{2089}]+)`},
		{pattern: fraction, emit: unbreak},
		{pattern: `[\x{BC}\x{BD}\x{BE}\x{2153}-\x{215E}]`, emit: parts},
		{pattern: treebank, emit: ampersand},
		{pattern: slashed},
		{pattern: `[A-Z]*\$|#`},
		{pattern: `[\x{A2}\x{A3}\x{A4}\x{A5}\x{80}\x{20A0}\x{20AC}\x{060B}\x{0E3F}\x{20A4}\x{FFE0}\x{FFE1}\x{FFE5}\x{FFE6}]`,
			emit: currency},
		{pattern: acronym + `\.`, context: spaceNL + `+` + openers + spaceNL, back: 1, split: true},
		{pattern: numbered, context: spaceNL + `?` + digit0},
		{pattern: `(?:pt[eyEY]|co)\.`, context: space + `(?:ltd|lim)`},
		{pattern: before, context: sentenceEnd, back: 1},
		{pattern: before, context: anyUnit + anyUnit},
		{pattern: before, back: 1}, // at the end of the text
		{pattern: named + `\.`},
		{pattern: named, context: space},
		{pattern: acronym, context: spaceNL},
		{pattern: apostrophe + `[0-9][0-9]`, context: spaceNL},
		{pattern: filename, context: `(?:` + spaceNL + `|[.?!,])`},
		{pattern: word + `\.`, context: comma, emit: soft},
		{pattern: phone, emit: func(s string) string { return brackets(unbreak(s)) }},
		{pattern: `"|&quot;`, context: `[A-Za-z0-9$]`, emit: opening},
		{pattern: `"|&quot;`, emit: closing},
		{pattern: `\x{7F}`, drop: true},
		{pattern: `<|&lt;`, emit: fixed("<")},
		{pattern: `>|&gt;`, emit: fixed(">")},
		{pattern: smiley, context: `[^A-Za-z0-9]`, emit: brackets},
		{pattern: eastSmiley, emit: brackets},
		{pattern: `\{`, emit: fixed("-LCB-")},
		{pattern: `\}`, emit: fixed("-RCB-")},
		{pattern: `\[`, emit: fixed("-LSB-")},
		{pattern: `\]`, emit: fixed("-RSB-")},
		{pattern: `\(`, emit: fixed("-LRB-")},
		{pattern: `\)`, emit: fixed("-RRB-")},
		{pattern: `-+`, emit: dashes},
		{pattern: `\.{3,5}|(?:\.[ \x{A0}]){2,4}\.|[\x{85}\x{2026}]`, emit: fixed("...")},
		{pattern: `@+|#+|_+`},
		{pattern: `\*+|(?:\\\*){1,3}`},
		{pattern: comma},
		{pattern: `[?!]+`},
		{pattern: `[.\x{A1}\x{BF}\x{037E}\x{0589}\x{061F}\x{06D4}\x{0700}-\x{0702}\x{07FA}\x{3002}]`},
		{pattern: `=`},
		{pattern: `/`},
		{pattern: withComma + `\.`, context: comma, emit: soft},
		{pattern: withComma, emit: soft},
		{pattern: hyphenated + `\.`, context: comma},
		{pattern: hyphenated},
		{pattern: initials + `\.`, context: comma, emit: ampersand},
		{pattern: initials, emit: ampersand},
		{pattern: `'`, context: `[A-Za-z][^ \t\n\r\x{A0}]`, emit: opening},
		{pattern: clitic, emit: closing},
		{pattern: notClitic, emit: closing},
		{pattern: quotes, emit: closing},
		{pattern: `<<|>>`},
		{pattern: symbols},
		{pattern: `\x{0}|` + space + `+|[\x{200B}\x{200E}\x{200F}\x{FEFF}]`, drop: true},
		{pattern: newline, drop: true},
		{pattern: `&nbsp;`, drop: true},
		{pattern: anyUnit, drop: true}, // no token can hold it
	}
}

// soft takes soft hyphens out; a token of them alone is a hyphen.
func soft(s string) string {
	if !strings.Contains(s, "\u00AD") {
		return s
	}
	if s = strings.ReplaceAll(s, "\u00AD", ""); s == "" {
		return "-"
	}
	return s
}

// unbreak makes spaces inside a token no-break spaces.
func unbreak(s string) string { return strings.ReplaceAll(s, " ", "\u00A0") }

func ampersand(s string) string {
	for i := 0; i+5 <= len(s); i++ {
		if strings.EqualFold(s[i:i+5], "&amp;") {
			s = s[:i+1] + s[i+5:]
		}
	}
	return s
}

func dashes(s string) string {
	if len(s) == 3 || len(s) == 4 {
		return "--"
	}
	return s
}
