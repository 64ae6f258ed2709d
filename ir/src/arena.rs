//! Arenas that own entities, and side tables keyed by their ids.

use crate::ids::Id;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Owns entities in insertion order; ids are never reused.
#[derive(Debug, Clone)]
pub struct Arena<I, T> {
    items: Vec<T>,
    ids: PhantomData<I>,
}

impl<I, T> Default for Arena<I, T> {
    fn default() -> Self {
        Arena { items: Vec::new(), ids: PhantomData }
    }
}

impl<I: Id, T> Arena<I, T> {
    /// Appends an entity and returns its id.
    pub fn push(&mut self, item: T) -> I {
        self.items.push(item);
        I::from_index(self.items.len() - 1)
    }
    /// Number of entities ever added.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// True when nothing was added.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The entity, or none when the id is not of this arena.
    pub fn get(&self, id: I) -> Option<&T> {
        self.items.get(id.index())
    }
    /// All ids in insertion order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.items.len()).map(I::from_index)
    }
    /// All entities, taken out, with the ids they had.
    pub fn into_items(self) -> impl Iterator<Item = (I, T)> {
        self.items.into_iter().enumerate().map(|(i, item)| (I::from_index(i), item))
    }
    /// All entities with their ids, in insertion order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator {
        self.items.iter().enumerate().map(|(i, item)| (I::from_index(i), item))
    }
}

impl<I: Id, T> Index<I> for Arena<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        &self.items[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for Arena<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.items[id.index()]
    }
}

/// A side table: `T` for every id, `T::default()` where nothing was stored.
#[derive(Debug, Clone)]
pub struct Map<I, T> {
    items: Vec<T>,
    default: T,
    ids: PhantomData<I>,
}

impl<I: Id, T: Clone + Default> Default for Map<I, T> {
    fn default() -> Self {
        Map { items: Vec::new(), default: T::default(), ids: PhantomData }
    }
}

impl<I: Id, T: Clone + Default> Map<I, T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }
    /// Stores `item` for `id`.
    pub fn set(&mut self, id: I, item: T) {
        self[id] = item;
    }
}

impl<I: Id, T: Clone> Index<I> for Map<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        self.items.get(id.index()).unwrap_or(&self.default)
    }
}

impl<I: Id, T: Clone> IndexMut<I> for Map<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        if id.index() >= self.items.len() {
            self.items.resize(id.index() + 1, self.default.clone());
        }
        &mut self.items[id.index()]
    }
}
