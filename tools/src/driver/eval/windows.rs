//! A text as windows of tokens, and which tokens of each are counted.

use mokume_ir::diag::{Diagnostic, Report};
use std::ops::Range;

/// How windows lie on a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Tokens that the model sees at once, the beginning token included.
    pub window: usize,
    /// Tokens of the text from the begin of a window to that of the next; none for windows side by side.
    pub stride: Option<usize>,
    /// Windows; 0 for all that fit.
    pub count: usize,
    /// The token before the text of every window.
    pub bos: Option<i64>,
}

/// A window: its tokens, and which of them are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What the model sees.
    pub tokens: Vec<i64>,
    /// Positions in `tokens`; each has tokens before it.
    pub counted: Range<usize>,
}

impl Layout {
    /// The windows of a text.
    ///
    /// Errors  `eval::window` when the layout has no sense, `eval::text` when the text is too short, telling how many windows fit.
    pub fn lay(&self, text: &[i64]) -> Result<Vec<Window>, Report> {
        if self.window < 2 || self.stride == Some(0) {
            let finding = Diagnostic::input("eval::window", "a window has at least 2 tokens, and a stride at least 1");
            return Err(finding.help("--window 512").into());
        }
        let fit = self.fit(text.len());
        if fit < self.count.max(1) {
            return Err(self.too_short(text.len(), fit));
        }
        let count = if self.count == 0 { fit } else { self.count };
        Ok((0..count).map(|index| self.window(text, index)).collect())
    }
    /// Tokens of the text from window to window.
    pub fn stride(&self) -> usize {
        self.stride.unwrap_or(self.own())
    }
    /// Tokens of a window that come from the text.
    fn own(&self) -> usize {
        self.window - usize::from(self.bos.is_some())
    }
    fn fit(&self, tokens: usize) -> usize {
        tokens.checked_sub(self.own()).map_or(0, |rest| 1 + rest / self.stride())
    }
    /// Tokens that the window before counted already are only context.
    fn window(&self, text: &[i64], index: usize) -> Window {
        let start = index * self.stride();
        let tokens: Vec<i64> = self.bos.iter().chain(&text[start..start + self.own()]).copied().collect();
        let context = if index == 0 { 0 } else { self.window.saturating_sub(self.stride()) };
        let counted = context.max(1)..tokens.len();
        Window { tokens, counted }
    }
    fn too_short(&self, tokens: usize, fit: usize) -> Report {
        let (count, window, stride) = (self.count.max(1), self.window, self.stride());
        let message = format!("the text has {tokens} tokens: {fit} windows of {window} every {stride} tokens fit, not {count}");
        let finding = Diagnostic::input("eval::text", message);
        match fit {
            0 => finding.help("give a longer text or a smaller --window").into(),
            _ => finding.help(format!("--windows {fit}, or 0 for all that fit")).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE_BY_SIDE: Layout = Layout { window: 4, stride: None, count: 0, bos: None };

    fn lay(layout: Layout, tokens: i64) -> Vec<(Vec<i64>, Range<usize>)> {
        let text: Vec<i64> = (0..tokens).collect();
        layout.lay(&text).unwrap().into_iter().map(|window| (window.tokens, window.counted)).collect()
    }

    #[test]
    fn windows_side_by_side_count_all_but_their_first_token() {
        assert_eq!(lay(SIDE_BY_SIDE, 9), [(vec![0, 1, 2, 3], 1..4), (vec![4, 5, 6, 7], 1..4)]);
        assert_eq!(lay(Layout { count: 1, ..SIDE_BY_SIDE }, 9).len(), 1);
    }

    #[test]
    fn a_beginning_token_takes_a_place_and_lets_all_of_the_text_count() {
        let layout = Layout { bos: Some(99), ..SIDE_BY_SIDE };
        assert_eq!(lay(layout, 7), [(vec![99, 0, 1, 2], 1..4), (vec![99, 3, 4, 5], 1..4)]);
    }

    #[test]
    fn overlapping_windows_count_every_token_once() {
        let layout = Layout { stride: Some(2), ..SIDE_BY_SIDE };
        assert_eq!(lay(layout, 8), [(vec![0, 1, 2, 3], 1..4), (vec![2, 3, 4, 5], 2..4), (vec![4, 5, 6, 7], 2..4)]);
        let layout = Layout { bos: Some(99), ..layout };
        assert_eq!(lay(layout, 7), [(vec![99, 0, 1, 2], 1..4), (vec![99, 2, 3, 4], 2..4), (vec![99, 4, 5, 6], 2..4)]);
    }

    #[test]
    fn strides_beyond_the_window_leave_text_out() {
        let layout = Layout { stride: Some(6), ..SIDE_BY_SIDE };
        assert_eq!(lay(layout, 10), [(vec![0, 1, 2, 3], 1..4), (vec![6, 7, 8, 9], 1..4)]);
    }

    #[test]
    fn short_texts_tell_how_many_windows_fit() {
        let report = |layout: Layout| layout.lay(&[0; 10]).unwrap_err().to_string();
        assert!(report(Layout { count: 3, ..SIDE_BY_SIDE }).contains("10 tokens: 2 windows of 4 every 4 tokens fit, not 3"));
        assert!(report(Layout { window: 11, ..SIDE_BY_SIDE }).contains("0 windows"));
        assert!(report(Layout { window: 1, ..SIDE_BY_SIDE }).contains("at least 2"));
        assert!(report(Layout { stride: Some(0), ..SIDE_BY_SIDE }).contains("at least 1"));
    }
}
