//! Pages of HTML that need nothing but themselves: style inside, no scripts, no links.

use std::fmt::Write;

/// Light and dark; one accent for all marks.
const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fcfcfb; --ink: #1b1b1a; --soft: #6b6a66; --line: #e2e1dc; --mark: #2a6fb0; }
@media (prefers-color-scheme: dark) { :root { --ground: #181817; --ink: #ececea; --soft: #a09f9a; --line: #383835; --mark: #5b9fe0; } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
p { color: var(--soft); margin: .2rem 0 .8rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem 2.5rem; margin: 1.5rem 0; }
.figures div { min-width: 8rem; } .figures b { display: block; font-size: 1.5rem; font-weight: 600; } .figures span { color: var(--soft); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .grid { stroke: var(--line); } svg .bar { fill: var(--mark); } svg .bar:hover { opacity: .6; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; } th { color: var(--soft); font-weight: 500; }
code { overflow-wrap: anywhere; } summary { cursor: pointer; color: var(--soft); }
";

/// A page that grows from top to bottom.
pub struct Page(String);

impl Page {
    /// A page with a heading.
    pub fn new(title: &str) -> Self {
        let title = escape(title);
        let head = format!("<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>");
        Page(format!("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{head}\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"))
    }
    /// A section with a sentence about it.
    pub fn section(&mut self, title: &str, about: &str) {
        self.push(format_args!("<h2>{}</h2>\n<p>{}</p>\n", escape(title), escape(about)));
    }
    /// A sentence.
    pub fn note(&mut self, text: &str) {
        self.push(format_args!("<p>{}</p>\n", escape(text)));
    }
    /// Large figures side by side: value and label.
    pub fn figures(&mut self, figures: &[(String, String)]) {
        let one = |(value, label): &(String, String)| format!("<div><b>{}</b><span>{}</span></div>", escape(value), escape(label));
        self.push(format_args!("<div class=\"figures\">{}</div>\n", figures.iter().map(one).collect::<String>()));
    }
    /// A drawing, as SVG.
    pub fn drawing(&mut self, svg: &str) {
        self.push(format_args!("<figure style=\"margin:0\">{svg}</figure>\n"));
    }
    /// Text in fixed width.
    pub fn code(&mut self, text: &str) {
        self.push(format_args!("<code>{}</code>\n", escape(text)));
    }
    /// A table, its first column at the left.
    pub fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let headings: Vec<String> = headings.iter().map(|heading| heading.to_string()).collect();
        let body: String = rows.iter().map(|cells| row(cells, "td")).collect();
        self.push(format_args!(
            "<div class=\"wide\"><table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n",
            row(&headings, "th")
        ));
    }
    /// A table that is shown when asked for.
    pub fn folded_table(&mut self, summary: &str, headings: &[&str], rows: &[Vec<String>]) {
        self.push(format_args!("<details><summary>{}</summary>\n", escape(summary)));
        self.table(headings, rows);
        self.push(format_args!("</details>\n"));
    }
    /// The whole text.
    pub fn finish(self) -> String {
        self.0 + "</body>\n</html>\n"
    }
    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
    }
}

/// Text as it may stand in HTML and in attributes.
pub fn escape(text: &str) -> String {
    let one = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '"' => "&quot;".to_string(),
        _ => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        let mut page = Page::new("<b>");
        page.table(&["a"], &[vec!["x & \"y\" </td>".into()]]);
        let text = page.finish();
        assert!(text.contains("<title>&lt;b&gt;</title>") && text.contains("<td>x &amp; &quot;y&quot; &lt;/td&gt;</td>"), "{text}");
    }

    #[test]
    fn what_opens_is_closed() {
        let mut page = Page::new("t");
        page.section("s", "about");
        page.figures(&[("1".into(), "one".into())]);
        page.folded_table("more", &["a", "b"], &[vec!["1".into(), "2".into()]]);
        let text = page.finish();
        for tag in ["html", "head", "body", "div", "details", "table", "tr", "td", "th", "style", "h2", "p"] {
            let opened = text.matches(&format!("<{tag}>")).count() + text.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, text.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
