//! Which file of a crate uses which: there is to be no circle, no use against the order of the groups, and no file too long
//! to be read.
//!
//! Paths (`crate::`, `super::`, `self::`, and those that begin with a child module) are followed to the file that has the
//! item, through whatever re-exports it. Modules that are compiled for tests or fuzzing alone are left out.
//!
//! - At the top, a module with all its submodules is one node: `driver` may use `record`, and then `record` and whatever it
//!   uses may not use anything in `driver`.
//! - Inside a module, its submodules are the nodes, and the module's own file is one more. To declare a child, or to
//!   re-export what the file does not use itself, is no use of that child.
//! - The file of a trunk (`driver`, `supervisor`) is not a node: it has one large type, whose methods stand in the children,
//!   so that each of the two uses the other. Its children must form no circle among themselves.
//! - `lib.rs` declares its modules in groups, between which there are blank lines. A module uses those of its own group and
//!   of the groups before it. An inline module of `lib.rs` counts as a module of its group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// The files of one crate by their path below its `src`, with their text.
pub type Files = BTreeMap<String, String>;

/// A module's path, without `crate`.
type Module = Vec<String>;

/// The circles among the files, each as a sentence that names its files. `trunks` are the modules whose own file is not a
/// node.
pub fn circles(files: &Files, trunks: &[&str]) -> Vec<String> {
    let uses = uses(files);
    let mut found = circles_of(&grouped(&uses, &[], true));
    let parents: BTreeSet<Module> = uses.keys().flat_map(|module| prefixes(module)).collect();
    for parent in parents {
        let name = parent.join("::");
        let is_node = !trunks.contains(&name.as_str());
        found.extend(circles_of(&grouped(&uses, &parent, is_node)));
    }
    found
}

/// The uses of a module by one of a group before its own, each as a sentence.
pub fn against_the_order(files: &Files) -> Vec<String> {
    let groups = groups(files.get("lib.rs").map_or("", String::as_str));
    let sources = read(files);
    let mut found = BTreeSet::new();
    for (module, source) in &sources {
        let Some(user) = module.first() else { continue };
        for path in &source.paths {
            let Some(used) = located(&sources, path) else { continue };
            // The path of an inline module leads to `lib.rs`.
            let Some(used) = used.first().or(path.first()) else { continue };
            if let (Some(upper), Some(lower)) = (groups.get(user), groups.get(used))
                && upper < lower
            {
                found.insert(format!("{} uses {used}, which is in a later group", source.file));
            }
        }
    }
    found.into_iter().collect()
}

/// The files with more than `most` lines, and how many they have: comments and blank lines count, tests and the
/// examples in comments do not.
pub fn too_long(files: &Files, most: usize) -> Vec<(String, usize)> {
    let sources = sources(files);
    let counted = sources.values().map(|source| (source.file.clone(), lines(&files[&source.file], &source.tests)));
    counted.filter(|(_, lines)| *lines > most).collect()
}

/// The lines of `text` but those of `tests`, and those of a block between fences in documentation, its fences included.
fn lines(text: &str, tests: &[Range<usize>]) -> usize {
    let mut in_example = false;
    let counts = |(number, line): (usize, &str)| {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            // A comment ends its example.
            in_example = false;
            return !tests.iter().any(|of| of.contains(&number));
        };
        let is_fence = doc.trim_start().starts_with("```");
        in_example ^= is_fence;
        !in_example && !is_fence && !tests.iter().any(|of| of.contains(&number))
    };
    text.lines().enumerate().map(counts).filter(|&counts| counts).count()
}

/// All proper prefixes but the root.
fn prefixes(module: &[String]) -> Vec<Module> {
    (1..module.len()).map(|len| module[..len].to_vec()).collect()
}

/// The number of the group of each module that `lib.rs` declares. The text has its comments, since a line of comment does not
/// end a group.
fn groups(lib: &str) -> BTreeMap<String, usize> {
    let mut groups = BTreeMap::new();
    let mut group = 0;
    for line in lib.lines() {
        if line.is_empty() {
            group += 1;
        }
        // What is indented is inside of an inline module.
        let line = if is_word(line) { tokens(line) } else { Vec::new() };
        if let Some(at) = line.iter().position(|&token| token == "mod")
            && let [name, ";" | "{", ..] = line[at + 1..]
        {
            groups.insert(name.to_owned(), group);
        }
    }
    groups
}

fn file_of(module: &[String]) -> String {
    if module.is_empty() { "lib.rs".into() } else { format!("{}.rs", module.join("/")) }
}

// ---------------------------------------------------------------- circles

type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// The uses between the children of `parent`, each of which stands for all below it, and the parent's own file.
fn grouped(uses: &Uses, parent: &[String], with_parent: bool) -> BTreeMap<String, BTreeMap<String, String>> {
    let node = |module: &Module| -> Option<String> {
        if !module.starts_with(parent) || (module.len() == parent.len() && !with_parent) {
            return None;
        }
        Some(file_of(&module[..module.len().min(parent.len() + 1)]))
    };
    let mut graph = BTreeMap::<String, BTreeMap<String, String>>::new();
    for (from, used) in uses {
        for to in used {
            if let (Some(a), Some(b)) = (node(from), node(to))
                && a != b
            {
                let witness = format!("{} uses {}", file_of(from), file_of(to));
                graph.entry(a).or_default().entry(b).or_insert(witness);
            }
        }
    }
    graph
}

/// The shortest circle through each node that is in one, but for nodes of a circle that was found already.
fn circles_of(graph: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        let mut before = BTreeMap::<&String, &String>::new();
        let mut queue = VecDeque::from([start]);
        'search: while let Some(at) = queue.pop_front() {
            for next in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    let mut path = vec![start, at];
                    while let Some(&previous) = before.get(path[path.len() - 1]) {
                        path.push(previous);
                    }
                    path.reverse();
                    seen.extend(path.iter().map(|&node| node.clone()));
                    let witnesses: Vec<_> =
                        path.windows(2).filter_map(|pair| graph.get(pair[0])?.get(pair[1])).cloned().collect();
                    found.push(witnesses.join(", "));
                    break 'search;
                }
                if !before.contains_key(next) {
                    before.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
    }
    found
}

// ---------------------------------------------------------------- uses

/// One file, read.
struct Source {
    file: String,
    /// The text without comments, the insides of literals, and what is compiled for tests alone.
    code: String,
    /// The lines of what is compiled for tests alone, from 0.
    tests: Vec<Range<usize>>,
    /// What each name stands for that a `use` brings in.
    names: BTreeMap<String, Module>,
    /// Paths that stand in the file, absolute.
    paths: Vec<Module>,
}

fn sources(files: &Files) -> BTreeMap<Module, Source> {
    let mut left_out = BTreeSet::<Module>::new();
    let mut sources = BTreeMap::new();
    for (file, text) in files {
        let module = module_of(file);
        let (code, tests, modules) = without_tests(&plain(text));
        left_out.extend(modules.into_iter().map(|name| [module.clone(), vec![name]].concat()));
        sources.insert(module, Source { file: file.clone(), code, tests, names: BTreeMap::new(), paths: Vec::new() });
    }
    sources.retain(|module: &Module, _| (1..=module.len()).all(|len| !left_out.contains(&module[..len])));
    sources
}

fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The sources, with what each names.
fn read(files: &Files) -> BTreeMap<Module, Source> {
    let mut sources = sources(files);
    for (module, source) in &mut sources {
        (source.names, source.paths) = Reader::of(&source.code, module).read();
    }
    sources
}

/// Which module uses items of which.
fn uses(files: &Files) -> Uses {
    let sources = read(files);
    let used = |module: &Module, source: &Source| {
        let located = source.paths.iter().filter_map(|path| located(&sources, path));
        located.filter(|used| used != module).collect::<BTreeSet<_>>()
    };
    sources.iter().map(|(module, source)| (module.clone(), used(module, source))).collect()
}

/// The module that has the item at `path`, behind all re-exports.
fn located(sources: &BTreeMap<Module, Source>, path: &Module) -> Option<Module> {
    let mut path = path.clone();
    // A chain of re-exports is short; one that does not end is no Rust.
    for _ in 0..16 {
        let known = (0..=path.len()).rev().find(|&len| sources.contains_key(&path[..len]))?;
        let (module, rest) = path.split_at(known);
        let Some(name) = rest.first() else { return Some(module.to_vec()) };
        match sources[module].names.get(name) {
            Some(target) if *target != path[..=known] => path = [target.clone(), rest[1..].to_vec()].concat(),
            _ => return Some(module.to_vec()),
        }
    }
    None
}

/// Walks through the tokens of one file.
struct Reader<'a> {
    tokens: Vec<&'a str>,
    module: &'a Module,
    children: BTreeSet<&'a str>,
    names: BTreeMap<String, Module>,
    paths: Vec<Module>,
    /// What a `pub use` gives on from a child, by its name here: a use only if that name stands in the code.
    given_on: Vec<(String, Module)>,
    other_tokens: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn of(code: &'a str, module: &'a Module) -> Self {
        let tokens = tokens(code);
        let children = tokens.windows(3).filter(|three| three[0] == "mod" && three[2] == ";").map(|three| three[1]);
        let children = children.collect();
        let (names, paths, given_on) = (BTreeMap::new(), Vec::new(), Vec::new());
        Reader { tokens, module, children, names, paths, given_on, other_tokens: BTreeSet::new() }
    }

    fn read(mut self) -> (BTreeMap<String, Module>, Vec<Module>) {
        // Braces: those of an inline module have its name.
        let mut open: Vec<Option<&str>> = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let inline: Vec<&str> = open.iter().copied().flatten().collect();
            let (token, before) = (self.tokens[at], if at == 0 { "" } else { self.tokens[at - 1] });
            let next = |ahead: usize| self.tokens.get(at + ahead).copied().unwrap_or_default();
            match token {
                "mod" if next(2) == "{" => {
                    open.push(Some(next(1)));
                    at += 3;
                    continue;
                }
                "mod" => at += 1,
                "{" => open.push(None),
                "}" => drop(open.pop()),
                "use" => {
                    let is_public = before == "pub" || before == ")";
                    let end = self.tokens[at..].iter().position(|&token| token == ";").map_or(0, |len| at + len);
                    let tree = self.tokens[at + 1..end.max(at + 1)].to_vec();
                    for (path, name) in leaves(&tree) {
                        self.bring_in(&path, name, &inline, is_public);
                    }
                    at = end.max(at);
                }
                _ if next(1) == "::" && before != "::" && before != "." => {
                    let mut path = vec![token];
                    while self.tokens.get(at + 1) == Some(&"::")
                        && self.tokens.get(at + 2).is_some_and(|token| is_word(token))
                    {
                        path.push(self.tokens[at + 2]);
                        at += 2;
                    }
                    self.other_tokens.insert(path[0]);
                    self.paths.extend(self.absolute(&path, &inline));
                }
                _ => drop(self.other_tokens.insert(token)),
            }
            at += 1;
        }
        let used = self.given_on.into_iter().filter(|(name, _)| self.other_tokens.contains(name.as_str()));
        self.paths.extend(used.map(|(_, path)| path));
        (self.names, self.paths)
    }

    fn bring_in(&mut self, path: &[&str], name: &str, inline: &[&str], is_public: bool) {
        let Some(absolute) = self.absolute(path, inline) else { return };
        if inline.is_empty() && name != "*" {
            self.names.insert(name.to_owned(), absolute.clone());
        }
        let is_below = absolute.len() > self.module.len() + 1 && absolute.starts_with(self.module);
        if is_public && is_below {
            self.given_on.push((name.to_owned(), absolute));
        } else {
            self.paths.push(absolute);
        }
    }

    /// None for a path into another crate, or to what is in scope anyway.
    fn absolute(&self, path: &[&str], inline: &[&str]) -> Option<Module> {
        let mut here: Module = self.module.clone();
        here.extend(inline.iter().map(|&name| name.to_owned()));
        let mut rest = path;
        match path.first()? {
            &"crate" => {
                here.clear();
                rest = &path[1..];
            }
            &"self" => rest = &path[1..],
            &"super" => {
                while rest.first() == Some(&"super") {
                    here.pop();
                    rest = &rest[1..];
                }
            }
            first if inline.is_empty() && self.children.contains(first) => {}
            _ => return None,
        }
        // An inline module is in this file.
        if here.len() > self.module.len() {
            here.truncate(self.module.len());
        }
        here.extend(rest.iter().filter(|&&name| name != "*").map(|&name| name.to_owned()));
        Some(here)
    }
}

/// The paths of a `use`, each with the name that it brings in.
fn leaves<'a>(tree: &[&'a str]) -> Vec<(Vec<&'a str>, &'a str)> {
    let mut found = Vec::new();
    let mut prefix: Vec<&str> = Vec::new();
    // How long the prefix was at each open brace.
    let mut open: Vec<usize> = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    let mut alias = None;
    let mut at = 0;
    while at <= tree.len() {
        let token = tree.get(at).copied().unwrap_or(",");
        match token {
            "::" => {}
            "{" => {
                open.push(prefix.len());
                prefix.append(&mut path);
            }
            "," | "}" => {
                if let Some(&last) = path.last() {
                    let mut whole = [prefix.clone(), path.clone()].concat();
                    // `{self}` is the prefix itself.
                    if last == "self" && whole.len() > 1 {
                        whole.pop();
                    }
                    let name = alias.or(whole.last().copied()).unwrap_or_default();
                    found.push((whole, name));
                }
                path.clear();
                alias = None;
                if token == "}" {
                    prefix.truncate(open.pop().unwrap_or_default());
                }
            }
            "as" => {
                alias = tree.get(at + 1).copied();
                at += 1;
            }
            word => path.push(word),
        }
        at += 1;
    }
    found
}

// ---------------------------------------------------------------- text

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// Words, `::`, and all else as single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if is_word(rest) {
            rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        found.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    found
}

/// The text without comments and without what stands in literals; lines stay lines.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut word_before = false;
    while let Some(first) = rest.chars().next() {
        let raw = if word_before { None } else { raw_string(rest) };
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = raw {
            out.push_str("\"\"");
            len
        } else if first == '"' {
            out.push_str("\"\"");
            quoted(rest, '"')
        } else if first == '\'' && is_char(rest) {
            out.push_str("''");
            quoted(rest, '\'')
        } else {
            out.push(first);
            word_before = first.is_alphanumeric() || first == '_';
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.extend(rest[..skipped].chars().filter(|&char| char == '\n'));
        rest = &rest[skipped..];
        word_before = false;
    }
    out
}

/// How long the literal is, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        if !escaped && char == quote {
            return at + 1;
        }
        escaped = !escaped && char == '\\';
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(())?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - after.len() + hashes + 1;
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// Whether a quote begins a character, not a lifetime.
fn is_char(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    after.next() == Some('\\') || after.next() == Some('\'')
}

/// The code without the items that are compiled for tests or fuzzing alone, the lines of these, and the names of such
/// modules.
fn without_tests(code: &str) -> (String, Vec<Range<usize>>, Vec<String>) {
    let mut out = String::with_capacity(code.len());
    let (mut lines, mut modules) = (Vec::new(), Vec::new());
    let count = |text: &str| text.matches('\n').count();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(") {
        let condition = &rest[at + 6..];
        let end = condition.find(")]").map_or(condition.len(), |end| end + 2);
        let words = tokens(&condition[..end]);
        let for_tests = words.first() != Some(&"not") && words.iter().any(|&word| word == "test" || word == "fuzzing");
        let after = at + 6 + end;
        if !for_tests {
            out.push_str(&rest[..after]);
            rest = &rest[after..];
            continue;
        }
        out.push_str(&rest[..at]);
        let item = after + item_len(&rest[after..]);
        let item_tokens = tokens(&rest[after..item]);
        if let Some(of) = item_tokens.iter().position(|&token| token == "mod")
            && item_tokens[..of].iter().all(|&token| token != "{")
        {
            modules.extend(item_tokens.get(of + 1).map(|&name| name.to_owned()));
        }
        let (first, breaks) = (count(&out), count(&rest[at..item]));
        lines.push(first..first + breaks + 1);
        out.push_str(&"\n".repeat(breaks));
        rest = &rest[item..];
    }
    out.push_str(rest);
    (out, lines, modules)
}

/// To the item's semicolon or its closing brace.
fn item_len(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, char) in text.char_indices() {
        match char {
            ';' if depth == 0 => return at + 1,
            // Brackets of an attribute, or of an array's length, may hold a semicolon.
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => {
                depth = depth.saturating_sub(1);
                if char == '}' && depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> Files {
        of.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect()
    }

    fn circle(of: &[(&str, &str)]) -> Vec<String> {
        circles(&files(of), &["trunk"])
    }

    #[test]
    fn a_circle_names_its_files() {
        let three = [
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("a.rs", "use crate::b::B;\npub struct A(B);"),
            ("b.rs", "pub struct B;\nfn f() -> u8 { crate::c::deep::<u8>() }"),
            ("c.rs", "use {std::fmt, crate::{a::A as Other, b::{self}}};"),
        ];
        assert_eq!(circle(&three), ["a.rs uses b.rs, b.rs uses c.rs, c.rs uses a.rs"]);
        let mut cut = three;
        cut[2].1 = "pub struct B;";
        assert_eq!(circle(&cut), [""; 0]);
        cut[2].1 = "/* crate::c::D */ pub struct B; // crate::c::D\nconst S: &str = \"crate::c::D\"; fn f<'a>(c: char) { '\"'; }";
        assert_eq!(circle(&cut), [""; 0]);
    }

    #[test]
    fn a_circle_through_a_re_export_is_found() {
        let of = [
            ("lib.rs", "mod a; mod b; mod c; pub use c::C;"),
            ("a.rs", "pub use crate::b::B;"),
            ("b.rs", "use crate::C; pub struct B;"),
            ("c.rs", "use crate::a::B; pub struct C;"),
        ];
        assert_eq!(circle(&of), ["b.rs uses c.rs, c.rs uses b.rs"]);
    }

    #[test]
    fn a_module_with_its_submodules_is_one_node_from_outside() {
        let of = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod inner; pub struct A;"),
            ("a/inner.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert_eq!(circle(&of), ["a/inner.rs uses b.rs, b.rs uses a.rs"]);
    }

    #[test]
    fn a_parent_may_declare_and_re_export_but_not_use_a_child_that_uses_it() {
        let child = ("a/child.rs", "use super::A; pub struct Child(A);");
        let with = |parent: &'static str| circle(&[("lib.rs", "mod a;"), ("a.rs", parent), child]);
        assert_eq!(with("mod child; pub(crate) use child::Child; pub struct A;"), [""; 0]);
        let circle = ["a.rs uses a/child.rs, a/child.rs uses a.rs"];
        assert_eq!(with("mod child; pub use child::Child; pub struct A; fn f(_: Child) {}"), circle);
        assert_eq!(with("mod child; pub struct A; fn f(_: child::Child) {}"), circle);
        assert_eq!(with("mod child; use child::Child; pub struct A;"), circle);
    }

    #[test]
    fn the_children_of_a_trunk_form_no_circle_among_themselves() {
        let trunk = "mod a; mod b; use a::A; use b::B; pub struct T(A, B);";
        let with = |b: &'static str| {
            circle(&[
                ("lib.rs", "mod trunk;"),
                ("trunk.rs", trunk),
                ("trunk/a.rs", "use super::{T, B}; pub struct A;"),
                ("trunk/b.rs", b),
            ])
        };
        assert_eq!(with("use super::T; pub struct B;"), [""; 0]);
        assert_eq!(with("use super::A; pub struct B;"), ["trunk/a.rs uses trunk/b.rs, trunk/b.rs uses trunk/a.rs"]);
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let of = [
            ("lib.rs", "mod a; #[cfg(any(test, fuzzing))]\n#[doc(hidden)]\npub mod f;"),
            ("a.rs", "#[cfg(test)]\nmod tests { use crate::f::F; }\n#[cfg(test)]\nmod more;"),
            ("a/more.rs", "use crate::f::F;"),
            ("f.rs", "use crate::a::A;"),
        ];
        assert_eq!(circle(&of), [""; 0]);
        // The same in code is a circle.
        let of = [("lib.rs", "mod a; pub mod f;"), ("a.rs", "mod inside { use crate::f::F; }"), of[3]];
        assert_eq!(circle(&of), ["a.rs uses f.rs, f.rs uses a.rs"]);
    }

    #[test]
    fn a_use_of_a_later_group_is_found() {
        let lib = [
            "//! A crate.\n\nmod a;\n",
            "// Two.\nmod b;\n/// Docs.\npub(crate) mod c;\n",
            "mod d {\n    pub struct D;\n}\n",
            "pub use c::C;\n",
        ]
        .join("\n");
        let with = |deep: &str, b: &str, c: &str| {
            let a = "mod deep; pub use deep::A;";
            against_the_order(&files(&[("lib.rs", &lib), ("a.rs", a), ("a/deep.rs", deep), ("b.rs", b), ("c.rs", c)]))
        };
        let (a, c) = ("pub struct A;", "pub struct C;");
        assert_eq!(with(a, "use crate::C;", "use crate::a::A; pub struct C(A);"), [""; 0]);
        assert_eq!(with("use crate::C; pub struct A;", "", c), ["a/deep.rs uses c, which is in a later group"]);
        assert_eq!(with(a, "fn f(_: crate::d::D) {}", c), ["b.rs uses d, which is in a later group"]);
    }

    #[test]
    fn a_file_is_too_long_by_all_but_tests_and_examples() {
        let text = [
            "//! A file.",
            "",
            "/// Docs.",
            "///",
            "/// ```",
            "/// f();",
            "/// ```",
            "fn f() {}",
            "",
            "#[cfg(test)]",
            "mod tests {",
            "    // Why.",
            "",
            "    /// ```",
            "    fn t() {}",
            "}",
            "",
            "// Why.",
            "fn g() {}",
            "",
        ];
        // The file, a blank line, three of `f`, and a blank one after it, after the tests three.
        let of = files(&[("lib.rs", &text.join("\n"))]);
        assert_eq!(too_long(&of, 9), []);
        assert_eq!(too_long(&of, 8), [("lib.rs".to_owned(), 9)]);
    }
}
