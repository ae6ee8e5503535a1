//! The known members of one kind of object.

use super::plan::{IdentityPlace, NodeId};

#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) members: Vec<Member>,
    /// For each length of a name the members that have it: names differ in length
    /// more than in anything that is as cheap to look at.
    by_length: Vec<Vec<usize>>,
    /// The column that says what kind of endpoint this object is.
    pub(crate) endpoint: Option<usize>,
    /// One plain identity.
    pub(crate) identity: Option<IdentityPlace>,
    /// An identity set: members without a node are identities by kind.
    pub(crate) set: Option<IdentityPlace>,
}

impl Object {
    /// The number of the member of this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let named = self.by_length.get(name.len())?;
        named.iter().copied().find(|&at| same(&self.members[at].name, name))
    }

    pub(crate) fn add(&mut self, name: String, node: NodeId) {
        if self.by_length.len() <= name.len() {
            self.by_length.resize(name.len() + 1, Vec::new());
        }
        self.by_length[name.len()].push(self.members.len());
        self.members.push(Member { name, node });
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) node: NodeId,
}

/// Whether two names are equal. They are short: to call the comparison of the C
/// library costs more than to compare them here.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_last), Some(b_last)) => {
            a_last == b_last && std::iter::zip(a.as_chunks::<8>().0, b.as_chunks::<8>().0).all(|(a, b)| a == b)
        }
        _ => std::iter::zip(a, b).all(|(a, b)| a == b),
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn names_are_equal_if_all_their_bytes_are() {
        for length in 0..40 {
            let name = "m".repeat(length);
            assert!(same(&name, &name.clone()));
            assert!(!same(&name, &"m".repeat(length + 1)));
            for at in 0..length {
                let other: String = (0..length).map(|byte| if byte == at { 'n' } else { 'm' }).collect();
                assert!(!same(&name, &other), "{length} {at}");
            }
        }
    }
}
