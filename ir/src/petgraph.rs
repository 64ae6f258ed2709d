//! petgraph's visit traits for [`Graph`], so that its algorithms and `Dot` run on our storage.
//!
//! An edge is an operand: it goes from the node that makes the value to the node that reads it, and weighs the value's
//! type. A node that reads a value twice has two edges. For an order of execution use [`order`](crate::order::order):
//! petgraph's `toposort` depends on ids.

use crate::graph::{Def, Graph, Node, Use};
use crate::ids::{Id, NodeId};
use crate::types::Type;
use petgraph::Direction;
use petgraph::visit::{
    Data, EdgeRef, GraphBase, GraphProp, IntoEdgeReferences, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, IntoNodeReferences,
    NodeCount, NodeIndexable, VisitMap, Visitable,
};

impl GraphBase for Graph {
    type NodeId = NodeId;
    /// A reader and the number of its operand.
    type EdgeId = (NodeId, u32);
}

impl GraphProp for Graph {
    type EdgeType = petgraph::Directed;
}

impl Data for Graph {
    type NodeWeight = Node;
    type EdgeWeight = Type;
}

impl NodeCount for Graph {
    fn node_count(&self) -> usize {
        Graph::node_count(self)
    }
}

impl NodeIndexable for Graph {
    fn node_bound(&self) -> usize {
        Graph::node_bound(self)
    }
    fn to_index(&self, id: NodeId) -> usize {
        id.index()
    }
    fn from_index(&self, index: usize) -> NodeId {
        NodeId::from_index(index)
    }
}

/// Which nodes were visited.
#[derive(Debug, Clone, Default)]
pub struct Visited(Vec<bool>);

impl VisitMap<NodeId> for Visited {
    fn visit(&mut self, id: NodeId) -> bool {
        !std::mem::replace(&mut self.0[id.index()], true)
    }
    fn is_visited(&self, id: &NodeId) -> bool {
        self.0[id.index()]
    }
    fn unvisit(&mut self, id: NodeId) -> bool {
        std::mem::replace(&mut self.0[id.index()], false)
    }
}

impl Visitable for Graph {
    type Map = Visited;
    fn visit_map(&self) -> Visited {
        Visited(vec![false; self.node_bound()])
    }
    fn reset_map(&self, map: &mut Visited) {
        *map = self.visit_map();
    }
}

impl IntoNodeIdentifiers for &Graph {
    type NodeIdentifiers = std::vec::IntoIter<NodeId>;
    fn node_identifiers(self) -> Self::NodeIdentifiers {
        self.node_ids().collect::<Vec<_>>().into_iter()
    }
}

impl<'g> IntoNodeReferences for &'g Graph {
    type NodeRef = (NodeId, &'g Node);
    type NodeReferences = std::vec::IntoIter<Self::NodeRef>;
    fn node_references(self) -> Self::NodeReferences {
        self.node_ids().map(|id| (id, &self[id])).collect::<Vec<_>>().into_iter()
    }
}

impl IntoNeighbors for &Graph {
    type Neighbors = std::vec::IntoIter<NodeId>;
    fn neighbors(self, id: NodeId) -> Self::Neighbors {
        self.neighbors_directed(id, Direction::Outgoing)
    }
}

impl IntoNeighborsDirected for &Graph {
    type NeighborsDirected = std::vec::IntoIter<NodeId>;
    fn neighbors_directed(self, id: NodeId, direction: Direction) -> Self::NeighborsDirected {
        let neighbors: Vec<NodeId> = match direction {
            Direction::Outgoing => users(self, id).collect(),
            Direction::Incoming => edges_into(self, id).map(|edge| edge.source).collect(),
        };
        neighbors.into_iter()
    }
}

impl<'g> IntoEdgeReferences for &'g Graph {
    type EdgeRef = Edge<'g>;
    type EdgeReferences = std::vec::IntoIter<Edge<'g>>;
    fn edge_references(self) -> Self::EdgeReferences {
        self.node_ids().flat_map(|id| edges_into(self, id)).collect::<Vec<_>>().into_iter()
    }
}

/// An operand that another node makes.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'g> {
    source: NodeId,
    target: NodeId,
    operand: u32,
    ty: &'g Type,
}

impl<'g> EdgeRef for Edge<'g> {
    type NodeId = NodeId;
    type EdgeId = (NodeId, u32);
    type Weight = Type;
    fn source(&self) -> NodeId {
        self.source
    }
    fn target(&self) -> NodeId {
        self.target
    }
    fn weight(&self) -> &'g Type {
        self.ty
    }
    fn id(&self) -> (NodeId, u32) {
        (self.target, self.operand)
    }
}

fn edges_into(graph: &Graph, target: NodeId) -> impl Iterator<Item = Edge<'_>> {
    let operands = graph.node(target).into_iter().flat_map(|node| node.inputs.iter().enumerate());
    operands.filter_map(move |(operand, &value)| match graph[value].def {
        Def::Node(source, _) if graph.node(source).is_some() => Some(Edge { source, target, operand: operand as u32, ty: graph.ty(value) }),
        _ => None,
    })
}

fn users(graph: &Graph, id: NodeId) -> impl Iterator<Item = NodeId> {
    let uses = graph.node(id).into_iter().flat_map(|node| &node.outputs).flat_map(|&value| &graph[value].uses);
    uses.filter_map(|usage| match usage {
        Use::Operand(user, _) => Some(*user),
        Use::Output(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::ids::{Id, NodeId};
    use crate::text::{no_data, parse};
    use petgraph::algo::{dominators, is_cyclic_directed, tarjan_scc, toposort};
    use petgraph::dot::Dot;

    fn diamond() -> Graph {
        let text = r#"module "m" graph @f0 "main"(%0 "x": tensor<2 x f32>) -> ("y") {
            %1 = exp %0 : tensor<2 x f32>
            %2 = neg %1 : tensor<2 x f32>
            %3 = add %1, %1 : tensor<2 x f32>
            %4 = mul %2, %3 : tensor<2 x f32>
            return %4
        }"#;
        parse(text, &no_data).unwrap().main().clone()
    }

    #[test]
    fn algorithms_run_on_graphs() {
        let graph = diamond();
        let [exp, neg, add, mul] = [0, 1, 2, 3].map(NodeId::from_index);
        let sorted = toposort(&graph, None).unwrap();
        assert_eq!((sorted[0], sorted[3]), (exp, mul));
        assert_eq!(tarjan_scc(&graph).len(), 4);
        assert!(!is_cyclic_directed(&graph));
        let tree = dominators::simple_fast(&graph, exp);
        assert_eq!([neg, add, mul].map(|node| tree.immediate_dominator(node)), [Some(exp); 3]);
    }

    #[test]
    fn graphs_draw_as_dot() {
        let dot = Dot::new(&diamond()).to_string();
        assert!(dot.contains("label = \"mul\"") && dot.contains("0 -> 2 [ label = \"tensor<2 x f32>\""), "{dot}");
    }
}
