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
        named.iter().copied().find(|&at| self.members[at].name == name)
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
