package ptb

import "strings"

// Named sets, as one code unit each: newGrammar puts the sets in their place.
const (
	letterUnit = "\U000F0000" // letters and the soft hyphen
	wordUnit   = "\U000F0001" // letters, marks, digits
	digitUnit  = "\U000F0002"
	startUnit  = "\U000F0003" // letters and marks
	mixUnit    = "\U000F0004" // letters and digits
	symbolUnit = "\U000F0005"
)

func sets() []string {
	const ascii = `A-Za-z\x{ad}`
	return []string{
		"[" + ascii + letters + "]",
		"[" + ascii + letters + marks + "0-9" + digits + "]",
		"[0-9" + digits + "]",
		"[" + ascii + letters + marks + "]",
		"[" + ascii + letters + "0-9" + digits + "]",
		"[" + symbols + `%&;=+\\^~|/` + "]",
	}
}

const (
	entity    = `&(?:[AaEeIiOoUu](?:acute|grave|uml)|[cC]cedil);`
	apos      = `(?:['\x{92}\x{2019}]|&apos;)`
	ampersand = `(?:&amp;|&)`
	hyphen    = `[-_\x{58a}\x{2010}\x{2011}]`
	letter    = "(?:" + letterUnit + "|" + entity + ")"
	mix       = "(?:" + mixUnit + "|" + entity + ")"
	word      = "(?:(?:" + startUnit + "|" + entity + ")(?:" + wordUnit + "|" + entity + ")*|" + mix + "+)"
	part      = mix + "+"
	number    = "(?:" + digitUnit + `+|` + digitUnit + `*(?:[.,:\x{ad}\x{66b}\x{66c}]` + digitUnit + `+)+)`
	acronym   = `[A-Za-z](?:\.[A-Za-z])+\.`
	spaceSet  = `\t-\r \x{85}\x{a0}\x{2000}-\x{200a}\x{2028}\x{2029}\x{3000}`
	spaces    = `[` + spaceSet + `]`
	starter   = `(?:A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You)`
	kept      = `(?:cf|dr|ft|lt|mr|ms|mt|ph|st|vs|wm|adj|adm|adv|ave|cie|col|cpl|det|drs|ens|gen|gov|hon|jos|maj|[Mm][f][g]|mme|mrs|[Mm][t][g]|pfc|pvt|rep|rev|sen|sfc|sgt|spc|ste|alex|asst|atty|brig|capt|cmdr|dept|elec|govs|insp|invt|mlle|msgr|natl|pres|prof|reps|sens|supt|assoc|attys|comdr|lieut|messrs|profs|supts|treas|ph\.d|ed\.d)\.`
	ending    = `(?:al|co|ct|ga|jr|ky|md|mo|rd|rt|sq|sr|va|vt|ala|apr|aug|bhd|cos|dak|dec|esq|est|etc|ext|feb|fla|fri|inc|ind|jan|jul|jun|kan|ltd|mar|mon|neb|nev|nov|oct|plc|[Pp][t][e]|[Pp][t][y]|[A]z|[L]a|[P]a|[A]rk|[D]el|[I]ll|[O]re|[T]ex|[M]ass|[M]iss|[W]ash|sep|seq|sys|tel|thu|tue|wed|wis|wyo|ariz|assn|bldg|blvd|bros|colo|conn|corp|intl|kans|mich|minn|mont|okla|penn|[Pp][p]?[t][ey][s]?|sept|tenn|tues|univ|wisc|bancorp|calif|thurs)\.`
	numbered  = `(?:ca|no|op|pp|art|fig|nos|figs|prop)\.`
)

func constant(s string) func(string) string { return func(string) string { return s } }

const (
	pathUnit  = `[^\t\n\f\r "()<>|]`
	lastUnit  = `[^\t\n\f\r "()<>{|}!,\-.?]`
	webUnit   = `[^\t\n\f\r "()<>{|}]`
	hostUnit  = `[^\t\n\f\r "$'(),\-./0-9:;<=>?@A-Z\[\\\]^_` + "`" + `{|}]`
	mailUnit  = `[^\t\n\f\r "()<>{|}\x{a0}]`
	mailLabel = `[^\t\n\f\r "()<>{|}\x{a0}.]`
	tagName   = `[A-Za-z][A-Za-z0-9.:_/\-]*`
	markup    = `(?:<[!?][A-Za-z\-][^>\n\r]*>|</` + tagName + ` *>|<` + tagName + `(?: +` + tagName + `(?: *= *(?:'[^']*'|"[^"]*"))?)* */?>)`
	anyApos   = `['\x{92}\x{2019}` + "`" + `]`
)

// kinds of tokens
func rules() []rule {
	return []rule{
		// words cut in two
		{pattern: "cannot", back: 3},
		{pattern: "gonna|gotta|wanna", back: 2},
		{pattern: "lemme|gimme", back: 2},
		// words
		{pattern: word, emit: plain},
		{pattern: part + "(?:" + hyphen + part + ")+", emit: plain},
		{pattern: part + "(?:-" + part + ")?(?:/" + part + "(?:-" + part + ")?)+", emit: plain},
		{pattern: "[A-Za-z0-9][A-Za-z0-9.,\\x{ad}]*(?:-" + part + ")*-(?:[A-Za-z0-9\\x{ad}]+|" + acronym + ")", emit: plain},
		{pattern: "[A-Z]+(?:(?:[+]|" + ampersand + ")[A-Z]+)+[s]?", emit: plain},
		{pattern: letter + "+(?:[.!?]" + letter + "+)+", emit: plain},
		{pattern: "[A-Za-z]+", context: "(?:" + apos + "(?:m|s|d|ll|re|ve)|n" + anyApos + "t)"},
		{pattern: "[A-HJ-XZdlno]" + anyApos + letter + "{2,}"},
		{pattern: "[A-Za-z]+[AEIOUYaeiouy]['\\x{92}\\x{2019}][AEIOUaeiou][A-Za-z]*"},
		{pattern: "(?:o'o|e'er|li'l|ev'ry|c'est|c'mon|cap'n|nat'l|[djl]'|ol'|somethin'|dunkin'|nor'easter|s'mores|cont'd\\.?)"},
		{pattern: "y['\\x{92}\\x{2019}]", context: letter},
		{pattern: "'(?:em|n|till?|cause)|'n'|'[0-9]0s"},
		{pattern: "'t", context: "is|was"},
		{pattern: "'[0-9]{2}", context: "[ \\t\\n]"},
		// numbers
		{pattern: "[-+]?" + number, emit: plain},
		{pattern: "[0-9]{1,4}[- \\x{a0}][0-9]{1,4}[/\\x{2044}][0-9]{1,4}", emit: fraction},
		{pattern: "(?:\\([0-9]{2,3}\\)[ \\x{a0}]?|(?:[+]?[0-9]{2,4}[- \\x{a0}])?[0-9]{2,4}[- \\x{a0}])[0-9]{3,4}[- \\x{a0}]?[0-9]{3,5}", emit: fraction},
		{pattern: "[+][0-9]{2,4}[- \\x{a0}][0-9]{3,4}[- \\x{a0}]?[0-9]{3,5}", emit: fraction},
		{pattern: "[A-Z]*\\$"},
		{pattern: "[\\x{80}\\x{a4}\\x{20a0}\\x{20ac}]", emit: constant("$")},
		{pattern: "\\x{a3}", emit: constant("#")},
		{pattern: "\\x{a2}", emit: constant("cents")},
		{pattern: "\\x{bc}", emit: constant("1/4")},
		{pattern: "\\x{bd}", emit: constant("1/2")},
		{pattern: "\\x{be}", emit: constant("3/4")},
		{pattern: "\\x{2153}", emit: constant("1/3")},
		{pattern: "\\x{2154}", emit: constant("2/3")},
		// acronyms
		{pattern: acronym},
		{pattern: acronym, context: spaces + "+(?:" + starter + spaces + "|" + markup + ")", split: true, back: 1},
		{pattern: "[A-Za-z]\\."},
		{pattern: "[A-Za-z]\\.", context: spaces + "+(?:" + starter + spaces + "|" + markup + ")", split: true},
		{pattern: kept},
		{pattern: ending, back: 1},
		{pattern: ending, context: spaces + "?[^" + spaceSet + capitals + "]"},
		{pattern: ending, context: spaces + "+" + markup, back: 1},
		{pattern: numbered, context: spaces + "?" + digitUnit},
		{pattern: word + "\\.", context: "[,;:\\x{3001}]", emit: plain},
		{pattern: "c\\+\\+|[CcFf]#"},
		// apostrophes
		{pattern: "n" + apos + "t", emit: plain},
		{pattern: apos + "(?:m|s|d|ll|re|ve)", emit: plain},
		{pattern: apos + "(?:m|s|d|ll|re|ve)", context: "[^A-Za-z]", emit: plain},
		{pattern: "'", context: "[A-Za-z][^ \\t\\n\\r\\x{a0}]", emit: constant("`")},
		{pattern: apos, emit: plain},
		{pattern: "[\\x{91}\\x{92}\\x{93}\\x{94}\\x{ab}\\x{bb}\\x{2018}\\x{2019}\\x{201b}\\x{201c}\\x{201d}\\x{2039}\\x{203a}]{1,2}", emit: quotes},
		{pattern: "''"},
		{pattern: "``?"},
		{pattern: "\"|&quot;", emit: constant("''")},
		{pattern: "\"|&quot;", context: "[A-Za-z0-9$]", emit: constant("``")},
		// addresses
		{pattern: "https?://" + webUnit + "+\\." + webUnit + "*" + lastUnit},
		{pattern: "(?:" + hostUnit + "+\\.)+(?:com|net|org|edu)/" + pathUnit + "+" + lastUnit},
		{pattern: "www\\.(?:" + hostUnit + "+\\.)+[A-Za-z]{2,4}/" + pathUnit + "+" + lastUnit},
		{pattern: "<?[A-Za-z0-9]" + mailUnit + "*@" + mailLabel + "+(?:\\." + mailLabel + "+)*>?"},
		{pattern: "@[A-Za-z_][A-Za-z0-9_]*"},
		{pattern: "#" + letter + "+"},
		// tags
		{pattern: markup, emit: tag},
		{pattern: "&lt;", emit: constant("<")},
		{pattern: "&gt;", emit: constant(">")},
		{pattern: "&amp;", emit: constant("&")},
		{pattern: "&[mn]dash;", emit: constant("--")},
		{pattern: "&#[0-9]+;"},
		{pattern: "<<|>>|<|>|-+>"},
		// faces
		{pattern: "[<>]?[:;=][-o*']?[DPOpo)(\\][{|\\\\@]", context: "[^A-Za-z0-9]", emit: brackets},
		{pattern: "[\\^x=~<>'\\-]_[\\^x=~<>'\\-]"},
		{pattern: "\\(\\^_\\^\\)", emit: brackets},
		// marks
		{pattern: "[\\x{96}\\x{97}\\x{2013}-\\x{2015}]|-{2,4}", emit: constant("--")},
		{pattern: "-|-{5,}"},
		{pattern: "\\x{ad}", emit: constant("-")},
		{pattern: "\\.{3,5}|(?:\\.[ \\x{a0}]){2,4}\\.|[\\x{85}\\x{2026}]", emit: constant("...")},
		{pattern: "[.,:;]"},
		{pattern: "[!?]+|_+|\\*+|(?:\\\\\\*)+|#+|@+|[\\x{201a}\\x{201e}\\x{201f}]+|[\\x{b2}\\x{b3}\\x{b9}\\x{2070}\\x{2074}-\\x{2079}]+|[\\x{2080}-\\x{2089}]+"},
		{pattern: "\\(|\\)|\\[|\\]|\\{|\\}|\\(\\^_\\^\\)", emit: brackets},
		{pattern: "-LRB-|-RRB-|-LCB-|-RCB-|-LSB-|-RSB-"},
		{pattern: symbolUnit},
		{pattern: "[ \\t\\x{a0}]+", drop: true},
		{pattern: "&nbsp;", drop: true},
		{pattern: "[\\x00-\\x{ffff}]", drop: true},
	}
}

// plain writes quotes and entities as their ASCII characters.
func plain(s string) string {
	return strings.NewReplacer("\u0092", "'", "\u2019", "'", "&apos;", "'", "&amp;", "&", "\u00ad", "").Replace(s)
}

func quotes(s string) string {
	return strings.NewReplacer("\u0091", "`", "\u2018", "`", "\u201b", "`", "\u2039", "`", "\u0093", "``", "\u201c", "``", "\u00ab", "``",
		"\u0092", "'", "\u2019", "'", "\u203a", "'", "\u0094", "''", "\u201d", "''", "\u00bb", "''").Replace(s)
}

func brackets(s string) string {
	return strings.NewReplacer("(", "-LRB-", ")", "-RRB-", "[", "-LSB-", "]", "-RSB-", "{", "-LCB-", "}", "-RCB-").Replace(s)
}

func tag(s string) string { return strings.ReplaceAll(s, " ", "\u00a0") }

func fraction(s string) string {
	return brackets(strings.NewReplacer(" ", "\u00a0", "\u2044", "/").Replace(s))
}
