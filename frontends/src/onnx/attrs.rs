//! Attributes of a node, read by name and kind; what nobody read is reported, so that no attribute is silently ignored.

use super::cx::Fault;
use super::proto::{AttributeProto, GraphProto, SparseTensorProto, TensorProto, attribute_type as kind};
use std::cell::RefCell;

/// The attributes of one node.
pub struct Attrs<'a> {
    list: &'a [AttributeProto],
    read: RefCell<Vec<bool>>,
}

impl<'a> Attrs<'a> {
    /// Nothing read yet.
    pub fn new(list: &'a [AttributeProto]) -> Self {
        Attrs { list, read: RefCell::new(vec![false; list.len()]) }
    }
    /// Marks `names` as read: they cannot change the result here.
    pub fn ignore(&self, names: &[&str]) {
        for (i, attr) in self.list.iter().enumerate() {
            if names.contains(&attr.name.as_str()) {
                self.read.borrow_mut()[i] = true;
            }
        }
    }
    /// The attributes that nobody read.
    pub fn unread(&self) -> Vec<&'a str> {
        let read = self.read.borrow();
        self.list.iter().zip(read.iter()).filter(|(_, read)| !**read).map(|(attr, _)| attr.name.as_str()).collect()
    }
    /// Whether `name` is given; does not count as reading it.
    pub fn has(&self, name: &str) -> bool {
        self.list.iter().any(|attr| attr.name == name)
    }
    fn get(&self, name: &str, kind: i32) -> Result<Option<&'a AttributeProto>, Fault> {
        let Some(at) = self.list.iter().position(|attr| attr.name == name) else { return Ok(None) };
        self.read.borrow_mut()[at] = true;
        let attr = &self.list[at];
        match attr.r#type {
            0 => Ok(Some(attr)),
            found if found == kind => Ok(Some(attr)),
            found => Err(Fault::input(format!("attribute \"{name}\" is {}, not {}", kind_name(found), kind_name(kind)))),
        }
    }
    /// An integer.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Fault> {
        Ok(self.get(name, kind::INT)?.map(|attr| attr.i))
    }
    /// An integer with a default.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Fault> {
        Ok(self.int(name)?.unwrap_or(default))
    }
    /// An integer used as a flag.
    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.int_or(name, 0)? != 0)
    }
    /// A number.
    pub fn float(&self, name: &str) -> Result<Option<f32>, Fault> {
        Ok(self.get(name, kind::FLOAT)?.map(|attr| attr.f))
    }
    /// A number with a default.
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, Fault> {
        Ok(self.float(name)?.unwrap_or(default))
    }
    /// A text.
    pub fn string(&self, name: &str) -> Result<Option<String>, Fault> {
        Ok(self.get(name, kind::STRING)?.map(|attr| String::from_utf8_lossy(&attr.s).into_owned()))
    }
    /// A text with a default.
    pub fn string_or(&self, name: &str, default: &str) -> Result<String, Fault> {
        Ok(self.string(name)?.unwrap_or_else(|| default.into()))
    }
    /// Integers.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        Ok(self.get(name, kind::INTS)?.map(|attr| attr.ints.clone()))
    }
    /// Integers that the operator demands.
    pub fn need_ints(&self, name: &str) -> Result<Vec<i64>, Fault> {
        self.ints(name)?.ok_or_else(|| Fault::input(format!("attribute \"{name}\" is missing")))
    }
    /// An integer that the operator demands.
    pub fn need_int(&self, name: &str) -> Result<i64, Fault> {
        self.int(name)?.ok_or_else(|| Fault::input(format!("attribute \"{name}\" is missing")))
    }
    /// Numbers.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Fault> {
        Ok(self.get(name, kind::FLOATS)?.map(|attr| attr.floats.clone()))
    }
    /// Texts.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let texts = |attr: &AttributeProto| attr.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
        Ok(self.get(name, kind::STRINGS)?.map(texts))
    }
    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, Fault> {
        Ok(self.get(name, kind::TENSOR)?.and_then(|attr| attr.t.as_deref()))
    }
    /// A sparse tensor.
    pub fn sparse_tensor(&self, name: &str) -> Result<Option<&'a SparseTensorProto>, Fault> {
        Ok(self.get(name, kind::SPARSE_TENSOR)?.and_then(|attr| attr.sparse_tensor.as_deref()))
    }
    /// A graph that the operator demands.
    pub fn need_graph(&self, name: &str) -> Result<&'a GraphProto, Fault> {
        let graph = self.get(name, kind::GRAPH)?.and_then(|attr| attr.g.as_deref());
        graph.ok_or_else(|| Fault::input(format!("attribute \"{name}\" holds no graph")))
    }
}

fn kind_name(kind: i32) -> &'static str {
    match kind {
        kind::FLOAT => "a float",
        kind::INT => "an integer",
        kind::STRING => "a string",
        kind::TENSOR => "a tensor",
        kind::GRAPH => "a graph",
        kind::FLOATS => "floats",
        kind::INTS => "integers",
        kind::STRINGS => "strings",
        kind::TENSORS => "tensors",
        kind::GRAPHS => "graphs",
        kind::SPARSE_TENSOR => "a sparse tensor",
        kind::TYPE_PROTO => "a type",
        _ => "of an unknown kind",
    }
}
