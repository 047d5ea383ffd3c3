package ptb

import "strings"

// Code units that stand in patterns for the sets of the same place in sets.
const (
	letterUnit = "\U000F0000" // letters
	wordUnit   = "\U000F0001" // those and digits
	stemUnit   = "\U000F0002" // letters, marks and the soft hyphen
	mixUnit    = "\U000F0003" // letters and digits
	digitUnit  = "\U000F0004"
	symbolUnit = "\U000F0005"
)

func sets() []string {
	const ascii, soft = `A-Za-z`, `\x{ad}`
	return []string{
		"[" + ascii + letters + "]",
		"[" + ascii + soft + letters + marks + "0-9" + digits + "]",
		"[" + ascii + soft + letters + marks + "]",
		"[" + ascii + letters + "0-9" + digits + "]",
		"[0-9" + digits + "]",
		"[" + symbols + `%&;=+\\^~|/` + "]",
	}
}

// What the patterns of several kinds share.
const (
	spaceSet = `\t-\r \x{85}\x{a0}\x{2000}-\x{200a}\x{2028}\x{2029}\x{3000}`
	space    = `[` + spaceSet + `]`
	apos     = `(?:['\x{92}\x{2019}]|&apos;)`
	// What stands for an apostrophe inside of some words too.
	anyApos = `(?:['\x{60}\x{91}\x{92}\x{2018}\x{2019}\x{201b}]|&apos;)`
	gap     = `[ \x{a0}]` // inside of a token

	// An entity of a letter is one of its word: caf&eacute;
	entity = `&[AEIOUaeiou](?:acute|grave|uml);`
	stem   = `(?:` + stemUnit + `|` + entity + `)(?:` + wordUnit + `|` + entity + `)*`
	// A word that begins with a digit has no marks.
	word = `(?:` + stem + `|` + mixUnit + `+)`
	// cat.dog, Yahoo!x
	joined = stem + `(?:[.!?]` + stem + `)+`
	label  = `(?:` + wordUnit + `|` + entity + `)+`
	// O'Brien's kind may be a part of a compound, C'mon's may not.
	elided   = `[DLOdlo]` + anyApos + mixUnit + `{2,}`
	part     = `(?:` + mixUnit + `+|` + elided + `)`
	compound = part + `(?:[-_\x{58a}\x{2010}\x{2011}]` + part + `)*`
	acronym  = `[A-Za-z]\x{ad}?(?:\.[A-Za-z])+\.`
	// Canada-U.S., S.-x
	dotted   = `[A-Za-z0-9][A-Za-z0-9.,\x{ad}]*`
	tail     = `-(?:[A-Za-z0-9\x{ad}]+|` + acronym + `)`
	initials = `[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+`
	choice   = `[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}`
	number   = `(?:` + digitUnit + `+|` + digitUnit + `*(?:[.,:\x{ad}\x{66b}\x{66c}]` + digitUnit + `+)+)`

	// (510) 555-1234, +44 20 7946 0958
	phone = `(?:\([0-9]{2,3}\)` + gap + `?|(?:[+]?[0-9]{2,4}[- \x{a0}])?[0-9]{2,4}[- \x{a0}]|[+][0-9]{2,4}[- \x{a0}])` +
		`[0-9]{3,4}[- \x{a0}]?[0-9]{3,5}`

	// Before a comma any word keeps its period.
	stopped = `(?:` + word + `|` + joined + `|` + compound + `|` + dotted + `(?:` + tail + `)+)\.`

	clitic = apos + `(?:d|m|[Ss]|ll|re|ve)`

	// No token of the web holds what closes one in a text, and none ends with
	// what ends a sentence.
	web       = `[^\t\n\f\r "()<>{|}]`
	webEnd    = `[^\t\n\f\r "()<>{|}!,\-.?]`
	path      = `/[^\t\n\f\r "()<>|]+` + webEnd
	host      = `(?:[^\t\n\f\r !"$'(),\-./0-9:;<=>?@A-Z\[\\\]^_\x{60}{|}]+\.)+`
	wwwHost   = `(?:[^\t\n\f\r "(),.<>{|}]*[^\t\n\f\r "(),.<>{|}!?]\.)+`
	mail      = `[^\t\n\f\r "()<>{|}\x{a0}]`
	mailLabel = `[^\t\n\f\r "()<>{|}\x{a0}.]+`

	tagName = `[A-Za-z][A-Za-z0-9.:_\-]*`
	markup  = `(?:<[!?][A-Za-z\-][^>\n\r]*>|</` + tagName + ` *>|<` + tagName +
		`(?: +` + tagName + `(?: *= *(?:'[^']*'|"[^"]*"))?)* */? *>)`
)

// Abbreviations, asked for among all words of one to four letters, those of the
// captions and of a dictionary, and lists of months, states, titles and companies.
const (
	// titles keep their period wherever they stand.
	titles = `(?:cf|dr|ft|lt|mr|ms|mt|ph|st|vs|wm|adj|adm|adv|ave|cie|col|cpl|det|drs|ens|gen|gov|hon|jos|maj|[Mm][f][g]|mme|mrs|` +
		`[Mm][t][g]|pfc|pvt|rep|rev|sen|sfc|sgt|spc|ste|alex|asst|atty|brig|capt|cmdr|dept|elec|govs|insp|invt|mlle|msgr|natl|` +
		`pres|prof|reps|sens|supt|assoc|attys|comdr|lieut|messrs|profs|supts|treas)\.`
	// closers keep it and may end a sentence too.
	closers = `(?:al|co|ct|ga|jr|ky|md|mo|rd|rt|sq|sr|va|vt|ala|apr|aug|bhd|cos|dak|dec|esq|est|etc|ext|feb|fla|fri|inc|ind|jan|` +
		`jul|jun|kan|ltd|mar|mon|neb|nev|nov|oct|plc|[Pp][t][e]|[Pp][t][y]|sep|seq|sys|tel|thu|tue|wed|wis|wyo|ariz|assn|bldg|` +
		`blvd|bros|colo|conn|corp|intl|kans|mich|minn|mont|okla|penn|[Pp][p]?[t][ey][s]?|sept|tenn|tues|univ|wisc|bancorp|calif|` +
		`thurs|[A]z|[L]a|[P]a|[A]rk|[D]el|[I]ll|[O]re|[T]ex|[M]ass|[M]iss|[W]ash|ph\.d|ed\.d)\.`
	// counters keep it before a number.
	counters = `(?:ca|no|op|pp|art|fig|nos|figs|prop)\.`
	// endings are those of files' names.
	endings = `bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|` +
		`sql|tar|txt|wav|x|xml|zip`
	// starters are the words that begin a sentence behind an acronym.
	starters = `(?:[A]|[A]bout|[A]ccording|[A]dditionally|[A]fter|[A]n|[A]s|[A]t|[B]ut|[E]arlier|[H]e|[H]er|[H]ere|[H]owever|` +
		`[I]f|[I]n|[I]t|[L]ast|[M]any|[M]ore|[N]ow|[O]nce|[O]ne|[O]ther|[O]ur|[S]he|[S]ince|[S]o|[S]ome|[S]uch|[T]hat|[T]he|` +
		`[T]heir|[T]hen|[T]here|[T]hese|[T]hey|[T]his|[W]e|[W]hat|[W]hen|[W]hile|[Y]et|[Y]ou|[M][rs]\.)`
	// sentence is how the next one begins.
	sentence = space + `+(?:` + starters + `|` + markup + `)` + space
)

// rules are the kinds of tokens. Of equally long matches the first counts.
func rules() []rule {
	// What tokens are written as.
	plain := replace("\u0092", "'", "\u2019", "'", "&apos;", "'", "\u00ad", "", "\u0091", "`", "\u2018", "`", "\u201b", "`")
	round := replace("(", "-LRB-", ")", "-RRB-")
	brackets := replace("(", "-LRB-", ")", "-RRB-", "[", "-LSB-", "]", "-RSB-", "{", "-LCB-", "}", "-RCB-")
	closing := replace("\"", "''", "&quot;", "''")
	opening := replace("\"", "``", "&quot;", "``")
	// hard keeps a token with spaces in one.
	hard := replace(" ", "\u00a0", "(", "-LRB-", ")", "-RRB-")
	quotes := replace("\u0091", "`", "\u2018", "`", "\u201b", "`", "\u2039", "`", "\u0093", "``", "\u201c", "``", "\u00ab", "``",
		"\u0092", "'", "\u2019", "'", "\u203a", "'", "\u0094", "''", "\u201d", "''", "\u00bb", "''")
	return []rule{
		// Addresses and tags
		{pattern: `https?://` + web + `+\.` + web + `*` + webEnd},
		{pattern: host + `(?:com|net|org|edu)(?:` + path + `)?`},
		{pattern: `www\.` + wwwHost + `[A-Za-z]{2,4}(?:` + path + `)?`},
		{pattern: `(?:<|&lt;)?[A-Za-z0-9]` + mail + `*@` + mailLabel + `(?:\.` + mailLabel + `)*(?:>|&gt;)?`},
		{pattern: `@[A-Za-z_][A-Za-z0-9_]*|#(?:` + stemUnit + `|` + entity + `)+`},
		{pattern: markup, emit: replace(" ", "\u00a0")},

		// Words
		{pattern: `cannot`, back: 3},
		{pattern: `gonna|gotta|lemme|gimme|wanna`, back: 2},
		{pattern: `\x{ad}+`, emit: always("-")},
		{pattern: `n` + anyApos + `t`, emit: plain},
		{pattern: `[A-Za-z\x{ad}]+`, context: `n` + anyApos + `t`, emit: plain},
		{pattern: letterUnit + `+`, context: clitic},
		{pattern: joined, context: clitic, emit: plain},
		{pattern: word, emit: plain},
		{pattern: joined, emit: plain},
		{pattern: `anti-|pro-|` + choice + `(?:\\?/` + choice + `){1,2}`},
		{pattern: initials + `|s(?:&amp;|&)p-500|s(?:&amp;|&)ls`, emit: ampersand},
		{pattern: `c\+\+|[CcFf]#`},

		// Words with apostrophes
		{pattern: apos + `[DMSdms]`, emit: plain},
		{pattern: clitic, context: `[^A-Za-z]`, emit: plain},
		{pattern: `[A-HJ-XZn]` + anyApos + letterUnit + `{2,}`},
		{pattern: letterUnit + `+[AEIOUYaeiouy]` + anyApos + `[A-Zaeiou]` + letterUnit + `*`},
		{pattern: `e'er|li'l|ev'ry|c'est|c'mon|cap'n|nat'l|nor'easter|s'mores|cont'd\.?`},
		{pattern: `o` + anyApos + `o|(?:[DJLdjl]|ol|somethin|dunkin)` + apos},
		{pattern: `y` + apos, context: letterUnit},
		{pattern: apos + `(?:em|n|till?|cause|[0-9]0s)|` + apos + `n` + apos},
		{pattern: `'t`, context: `is|was`},
		{pattern: apos + `[0-9]{2}`, context: space},

		// Numbers
		{pattern: `[-+]?` + number, emit: plain},
		{pattern: `(?:[0-9]{1,4}[- \x{a0}])?[0-9]{1,4}(?:\\?/|\x{2044})[0-9]{1,4}|` + digitUnit + `{1,4}/` + digitUnit + `{1,4}`, emit: hard},
		{pattern: digitUnit + `{1,2}[-/]` + digitUnit + `{1,2}[-/]` + digitUnit + `{2,4}`},
		{pattern: phone, emit: hard},
		{pattern: `[A-Z]*\$`},

		// Abbreviations
		{pattern: `(?:` + dotted + `(?:` + tail + `)*-)?` + acronym, emit: plain},
		{pattern: `(?:canada|sino|korean|japan|eu|non)-u\.s\.|u\.s\.-u\.k\.|` + acronym, context: sentence, split: true, back: 1, emit: plain},
		{pattern: `[A-Za-z]\.`},
		{pattern: `[A-Za-z]\.`, context: sentence, split: true},
		{pattern: titles},
		{pattern: closers, back: 1},
		{pattern: closers, context: `[^` + spaceSet + `][\x00-\x{ffff}]?|` + space + `[^` + spaceSet + capitals + `]`},
		{pattern: closers, context: space + `+` + markup, back: 1},
		{pattern: `(?:co|pte|pty)\.`, context: gap + `ltd`},
		{pattern: counters, context: space + `?` + digitUnit},
		{pattern: stopped, context: `[,;:\x{3001}]`, emit: plain},
		{pattern: initials + `\.`, context: `[,;:\x{3001}]`, emit: ampersand},

		{pattern: `(?:` + label + `\.)+(?:` + endings + `)`, context: `[` + spaceSet + `!,.?]`},

		// Compounds
		{pattern: compound},
		{pattern: dotted + `(?:` + tail + `)+`, emit: plain},

		// Quotation marks
		{pattern: `'`, context: `[A-Za-z][^ \t\n\r\x{a0}]`, emit: always("\x60")},
		{pattern: apos + `(?:ll|re|ve)`, emit: plain},
		{pattern: `"|&quot;`, emit: closing},
		{pattern: `"|&quot;`, context: `[A-Za-z0-9$]`, emit: opening},
		{pattern: `''|` + apos, emit: plain},
		{pattern: `[\x{60}\x{91}-\x{94}\x{ab}\x{bb}\x{2018}\x{2019}\x{201b}-\x{201d}\x{2039}\x{203a}]{1,2}`, emit: quotes},

		// Faces
		{pattern: `[<>]?[:;=][-o*']?[DPOdp)(\][{|\\@]`, context: `[^A-Za-z0-9]`, emit: round},
		{pattern: `[\^x=~<>'\-]_[\^x=~<>'\-]`},
		{pattern: `\([\^x=~<>'\-][._]?[\^x=~<>'\-]\)|\([\^x=~<>']-[\^x=~<>'\x{60}]\)`, emit: round},

		// Marks and symbols
		{pattern: `-(?:[Ll][Rr][Bb]|RRB|LCB|RCB|LSB|RSB)-`},
		{pattern: `-|-{5,}`},
		{pattern: `[\x{96}\x{97}\x{2013}-\x{2015}]|-{2,4}|&[MmNn]dash;`, emit: always("--")},
		{pattern: `\.{3,5}|(?:\.` + gap + `){2,4}\.|[\x{85}\x{2026}]`, emit: always("...")},
		{pattern: `[()\[\]{}]`, emit: brackets},
		{pattern: `[.,:]|<<?|>>?|[!?]+|_+|\*+|(?:\\\*)+|#+|@+`},
		{pattern: `[\x{201a}\x{201e}\x{201f}]+|[\x{b2}\x{b3}\x{b9}\x{2070}\x{2074}-\x{2079}]+|[\x{2080}-\x{2089}]+`},
		{pattern: `[\x{80}\x{a4}\x{20a0}\x{20ac}]`, emit: always("$")},
		{pattern: `\x{a3}`, emit: always("#")},
		{pattern: `\x{a2}`, emit: always("cents")},
		{pattern: `\x{bc}`, emit: always("1/4")},
		{pattern: `\x{bd}`, emit: always("1/2")},
		{pattern: `\x{be}`, emit: always("3/4")},
		{pattern: `\x{2153}`, emit: always("1/3")},
		{pattern: `\x{2154}`, emit: always("2/3")},
		{pattern: `&lt;`, emit: always("<")},
		{pattern: `&gt;`, emit: always(">")},
		{pattern: `&amp;`, emit: always("&")},
		{pattern: `&#[0-9]+;`},
		{pattern: symbolUnit},

		{pattern: `[ \t\x{a0}]+|&nbsp;`, drop: true},
		{pattern: `[\x00-\x{ffff}]`, drop: true},
	}
}

func always(s string) func(string) string { return func(string) string { return s } }

func replace(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }

// ampersand takes the rest of &amp; away, in whichever case it is.
func ampersand(s string) string {
	for i := strings.IndexByte(s, ';'); i >= 0; i = strings.IndexByte(s, ';') {
		s = s[:i-len("amp")] + s[i+1:]
	}
	return s
}
