//! A record put together from its pages: the members of the first answer as
//! they came, each list whole. One line of JSON comes out.

use super::page::{self, Members, Object};
use serde_json::value::RawValue;

/// A list that Graph serves in pages, elements as served but for white space.
#[derive(Debug, Default)]
pub(super) struct Collection {
    bytes: Vec<u8>,
    /// End of each element in `bytes`.
    ends: Vec<usize>,
    /// Elements of the page before, repeats included.
    last_page: usize,
}

impl Collection {
    /// Appends a page: the elements of a list of `members`.
    ///
    /// A server whose list grew between two pages serves the end of one page
    /// again at the start of the next. That overlap, and nothing else that looks
    /// alike, is kept once.
    pub(super) fn append(&mut self, members: &Members, page: &[&RawValue]) {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(page.len());
        for element in page {
            members.append(element, &mut bytes);
            ends.push(bytes.len());
        }
        let served = Self { bytes, ends, last_page: 0 };
        if self.ends.is_empty() {
            (self.bytes, self.ends, self.last_page) = (served.bytes, served.ends, page.len());
            return;
        }
        let longest = self.last_page.min(self.len()).min(served.len());
        let end: Vec<&[u8]> = (self.len() - longest..self.len()).map(|i| self.element(i)).collect();
        let start: Vec<&[u8]> = (0..longest).map(|i| served.element(i)).collect();
        let overlap = overlap(&end, &start);
        for i in overlap..served.len() {
            self.bytes.extend_from_slice(served.element(i));
            self.ends.push(self.bytes.len());
        }
        if !page.is_empty() {
            self.last_page = page.len();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    fn element(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for i in 0..self.len() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.element(i));
        }
        out.push(b']');
    }
}

/// How many elements at the end of one list stand at the start of another, at
/// most all: in one pass (Knuth, Morris and Pratt), for the lists are input.
fn overlap(end: &[&[u8]], start: &[&[u8]]) -> usize {
    // For each prefix of `start`, the longest other prefix that it ends with.
    let mut shorter = vec![0; start.len()];
    let grow = |shorter: &[usize], mut known: usize, element: &[u8]| {
        while known > 0 && start.get(known).is_none_or(|next| *next != element) {
            known = shorter[known - 1];
        }
        known + usize::from(start.get(known).is_some_and(|next| *next == element))
    };
    for i in 1..start.len() {
        shorter[i] = grow(&shorter, shorter[i - 1], start[i]);
    }
    end.iter().fold(0, |known, element| grow(&shorter, known, element))
}

/// The answer to one of the requests for a record, with the list that it expands.
#[derive(Debug)]
pub(super) struct Expansion {
    pub(super) members: Members,
    /// Name of the list.
    pub(super) list: &'static str,
    /// The whole list; `None` where the record has none.
    pub(super) collection: Option<Collection>,
}

impl Expansion {
    /// As [`record`], of this answer alone.
    pub(super) fn to_json(&self) -> Vec<u8> {
        write(&[self])
    }
}

/// One record from its two answers: all members of `first`, then those that
/// only `second` has.
pub(super) fn record(first: &Expansion, second: &Expansion) -> Vec<u8> {
    write(&[first, second])
}

fn write(answers: &[&Expansion]) -> Vec<u8> {
    let whole = |name: &str| answers.iter().find(|a| a.list == name).and_then(|a| a.collection.as_ref());
    let mut out = Object::new();
    for (i, answer) in answers.iter().enumerate() {
        let mut listed = false;
        for (name, value) in answer.members.iter() {
            if page::is_next_link(name) || answers[..i].iter().any(|before| before.members.get(name).is_some()) {
                continue;
            }
            match whole(name) {
                None => answer.members.append(value, out.member(name)),
                Some(collection) if !listed => collection.write(out.member(name)),
                // The name is repeated, and the list is there already.
                Some(_) => {}
            }
            listed |= name == answer.list;
        }
        if let Some(collection) = answer.collection.as_ref()
            && answers[..=i].iter().all(|a| a.members.get(answer.list).is_none())
        {
            collection.write(out.member(answer.list));
        }
    }
    out.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expansion(text: &str, list: &'static str, further: &[&str]) -> Expansion {
        let parsed = |text: &str| {
            Members::parse(crate::json::looked_at(text.as_bytes(), 1 << 20).expect("safe")).expect("an object")
        };
        let members = parsed(text);
        let mut collection = members.get(list).and_then(page::elements).map(|elements| {
            let mut collection = Collection::default();
            collection.append(&members, &elements);
            collection
        });
        for page in further {
            let page = parsed(&format!(r#"{{"value":{page}}}"#));
            let elements = page.get("value").and_then(page::elements).expect("a list");
            collection.get_or_insert_default().append(&page, &elements);
        }
        Expansion { members, list, collection }
    }

    fn assembled(sessions: &Expansion, participants: &Expansion) -> String {
        String::from_utf8(record(sessions, participants)).expect("UTF-8")
    }

    #[test]
    fn members_keep_their_order_and_text() {
        let sessions = expansion(
            "{\n \"@odata.context\": \"c\", \"version\": 1, \"id\": \"x\", \"zeta\": 1.0,\n \"sessions@odata.nextLink\": \"l\", \"sessions\": [ {\"id\": 1e2} ], \"alpha\": \"a  b\" }",
            "sessions",
            &[r#"[{"id":"s2"}]"#],
        );
        let participants = expansion(
            r#"{"@odata.context":"other","id":"x","version":1,"participants_v2@odata.nextLink":"l","participants_v2":[{"id":"p1"}],"only":null}"#,
            "participants_v2",
            &["[]", r#"[ { "id": "p2" } ]"#],
        );
        assert_eq!(
            assembled(&sessions, &participants),
            concat!(
                r#"{"@odata.context":"c","version":1,"id":"x","zeta":1.0,"sessions":[{"id":1e2},{"id":"s2"}],"alpha":"a  b","#,
                r#""participants_v2":[{"id":"p1"},{"id":"p2"}],"only":null}"#
            )
        );
    }

    #[test]
    fn an_expanded_list_wins_over_one_that_came_unasked() {
        let sessions = expansion(r#"{"participants_v2":[],"sessions":null}"#, "sessions", &[]);
        let participants = expansion(r#"{"participants_v2":[1],"sessions":[7]}"#, "participants_v2", &["[2]"]);
        assert_eq!(assembled(&sessions, &participants), r#"{"participants_v2":[1,2],"sessions":null}"#);
    }

    #[test]
    fn lists_that_are_absent_stay_absent() {
        let sessions = expansion(r#"{"id":"x"}"#, "sessions", &[]);
        assert_eq!(assembled(&sessions, &expansion(r#"{"id":"x"}"#, "participants_v2", &[])), r#"{"id":"x"}"#);
        let link_only = expansion(r#"{"id":"x"}"#, "participants_v2", &["[1]"]);
        assert_eq!(assembled(&sessions, &link_only), r#"{"id":"x","participants_v2":[1]}"#);
    }

    #[test]
    fn of_a_repeated_list_the_last_counts_once() {
        let sessions = expansion(r#"{"sessions":[1],"sessions":[2],"a":1,"a":2}"#, "sessions", &["[3]"]);
        assert_eq!(assembled(&sessions, &expansion("{}", "participants_v2", &[])), r#"{"sessions":[2,3],"a":1,"a":2}"#);
    }

    #[test]
    fn an_overlap_is_the_longest_one() {
        let list = |text: &'static str| -> Vec<&[u8]> { text.as_bytes().chunks(1).collect() };
        for (end, start) in
            [("aab", "aabaab"), ("aaaa", "aaaa"), ("abab", "abcd"), ("xaba", "abab"), ("", "a"), ("ab", "ba")]
        {
            let (end, start) = (list(end), list(start));
            let naive = (0..=end.len().min(start.len())).rev().find(|&n| end[end.len() - n..] == start[..n]).unwrap();
            assert_eq!(overlap(&end, &start), naive, "{end:?} {start:?}");
        }
        let (mut one, other) = (vec![&b"{}"[..]; 300_000], vec![&b"{}"[..]; 300_000]);
        one[299_999] = b"{\"id\":1}";
        assert_eq!(overlap(&one, &other), 0, "in one pass, or this takes hours");
    }

    #[test]
    fn only_an_overlap_across_a_border_is_dropped() {
        for (pages, whole) in [
            (vec!["[1,2,3]", "[3,4]"], "[1,2,3,4]"),
            (vec!["[1,2,3]", "[2, 3,4]"], "[1,2,3,4]"),
            (vec!["[1,2]", "[1,2]", "[1,2,3]"], "[1,2,3]"),
            (vec!["[1,2]", "[]", "[2,3]"], "[1,2,3]"),
            (vec!["[1,1,2]", "[3,3]"], "[1,1,2,3,3]"),
            (vec!["[1,2]", "[3,1]"], "[1,2,3,1]"),
            (vec!["[5,5]", "[5]"], "[5,5]"),
            (vec!["[1,2,3]", "[4]", "[3,4,5]"], "[1,2,3,4,3,4,5]"),
        ] {
            let sessions = expansion(&format!(r#"{{"sessions":{}}}"#, pages[0]), "sessions", &pages[1..]);
            assert_eq!(
                String::from_utf8(sessions.to_json()).expect("UTF-8"),
                format!(r#"{{"sessions":{whole}}}"#),
                "{pages:?}"
            );
        }
    }
}
