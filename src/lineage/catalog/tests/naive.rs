//! Random graphs, random batches and random questions as of any moment, against a model that keeps the world after each
//! change and looks through all of it. On each store, and the stores must agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ARTIFACTS: u8 = 7;
const RUNS: u8 = 6;
/// A node that is never recorded.
const NOBODY: u8 = ARTIFACTS + RUNS;

/// Something that is said.
#[derive(Clone, Debug)]
enum Said {
    Node { node: u8, state: bool, uri: Option<u8>, properties: Vec<(u8, Option<Value>)> },
    Edge { artifact: u8, run: u8, output: bool, role: bool, remove: bool },
}

#[derive(Clone, Debug)]
struct Question {
    node: u8,
    direction: Direction,
    depth: u32,
    /// A share of the changes that there are.
    moment: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    state: State,
    uri: Option<String>,
    properties: Properties,
}

/// From, to, and what tells edges of the same ends apart.
type Line = (String, String, EventKind, String);

/// Everything that is known at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    nodes: BTreeMap<String, Known>,
    edges: BTreeSet<Line>,
}

fn name(node: u8) -> String {
    match node {
        artifact if artifact < ARTIFACTS && artifact % 2 == 0 => format!("dataset:a{artifact}@v1"),
        artifact if artifact < ARTIFACTS => format!("model:a{artifact}@v1"),
        run => format!("run:r{run}"),
    }
}

fn type_name(node: u8) -> &'static str {
    match node {
        artifact if artifact < ARTIFACTS && artifact % 2 == 0 => names::DATASET,
        artifact if artifact < ARTIFACTS => names::MODEL,
        _ => names::TRAINING,
    }
}

impl World {
    /// Applies a batch whole; `None` where it is to be refused.
    fn after(&self, batch: &Batch) -> Option<Self> {
        let mut world = self.clone();
        for record in &batch.nodes {
            let known = world.nodes.entry(record.node.to_string()).or_default();
            known.state = record.state.unwrap_or(known.state);
            known.uri = record.uri.clone().or(known.uri.take());
            for (name, value) in &record.properties {
                match value {
                    Some(value) => known.properties.insert(name.clone(), value.clone()),
                    None => known.properties.remove(name),
                };
            }
        }
        for edge in &batch.edges {
            let (artifact, run) = (edge.artifact.to_string(), edge.execution.to_string());
            if !world.nodes.contains_key(&artifact) || !world.nodes.contains_key(&run) {
                return None;
            }
            let (from, to) = if edge.kind.is_output() { (run, artifact) } else { (artifact, run) };
            let line = (from.clone(), to.clone(), edge.kind, edge.role.clone());
            if edge.remove {
                world.edges.remove(&line);
            } else if !world.edges.contains(&line) {
                if world.reach(&to, Direction::Downstream, u32::MAX).0.contains_key(&from) {
                    return None;
                }
                world.edges.insert(line);
            }
        }
        Some(world)
    }

    /// Nodes with their depths, the edges that led to them, and whether there is more.
    fn reach(
        &self,
        begin: &str,
        direction: Direction,
        depth_max: u32,
    ) -> (BTreeMap<String, u32>, BTreeSet<Line>, bool) {
        let mut depths = BTreeMap::from([(begin.to_owned(), 0)]);
        let (mut edges, mut depth) = (BTreeSet::new(), 0);
        loop {
            let at = |node: &String| depths.get(node) == Some(&depth);
            let onward: Vec<(&Line, &String)> =
                self.edges
                    .iter()
                    .map(|line| {
                        if direction == Direction::Upstream {
                            (line, &line.1, &line.0)
                        } else {
                            (line, &line.0, &line.1)
                        }
                    })
                    .filter(|(_, here, _)| at(here))
                    .map(|(line, _, there)| (line, there))
                    .collect();
            if onward.is_empty() || depth == depth_max {
                return (depths, edges, !onward.is_empty());
            }
            depth += 1;
            for (line, there) in onward {
                edges.insert(line.clone());
                depths.entry(there.clone()).or_insert(depth);
            }
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let value = prop::option::weighted(
        0.8,
        prop_oneof![
            any::<i16>().prop_map(|n| Value::Int(n.into())),
            "[a-c]{0,2}".prop_map(Value::String),
            any::<bool>().prop_map(Value::Bool),
            (-8_i8..8).prop_map(|n| Value::Double(f64::from(n) / 4.0))
        ],
    );
    let node = (0..NOBODY, any::<bool>(), prop::option::of(0..3_u8), prop::collection::vec((0..3_u8, value), 0..3));
    let edge = (0..ARTIFACTS, ARTIFACTS..NOBODY, any::<bool>(), any::<bool>(), prop::bool::weighted(0.25));
    prop_oneof![
        1 => node.prop_map(|(node, state, uri, properties)| Said::Node { node, state, uri, properties }),
        2 => edge.prop_map(|(artifact, run, output, role, remove)| Said::Edge { artifact, run, output, role, remove }),
    ]
}

fn question() -> impl Strategy<Value = Question> {
    let direction = prop::sample::select(&[Direction::Upstream, Direction::Downstream][..]);
    (0..=NOBODY, direction, 0..6_u32, 0.0..1.2_f64).prop_map(|(node, direction, depth, moment)| Question {
        node,
        direction,
        depth,
        moment,
    })
}

/// With `whole`, what an edge joins is recorded with it.
fn batch_of(all: &[Said], whole: bool) -> Batch {
    let mut batch = batch();
    for said in all {
        match said {
            Said::Node { node, state, uri, properties } => {
                let live = if *node < ARTIFACTS { State::Live } else { State::Complete };
                batch.nodes.push(NodeRecord {
                    state: state.then_some(live),
                    uri: uri.map(|uri| format!("s3://{uri}")),
                    properties: properties.iter().map(|(name, value)| (format!("p{name}"), value.clone())).collect(),
                    ..NodeRecord::new(type_name(*node), id(&name(*node)))
                });
            }
            Said::Edge { artifact, run, output, role, remove } => {
                if whole {
                    batch.nodes.extend([*artifact, *run].map(|node| NodeRecord::new(type_name(node), id(&name(node)))));
                }
                let kind = if *output { EventKind::Output } else { EventKind::Input };
                let role = if *role { "training" } else { "" };
                batch.edges.push(EdgeRecord { remove: *remove, ..edge(&name(*artifact), &name(*run), kind, role) });
            }
        }
    }
    batch
}

/// What the catalog says of a node and of what it reaches.
type Answer = Option<(Known, BTreeMap<String, u32>, BTreeSet<Line>, bool)>;

async fn answer(catalog: &Catalog, question: &Question, moment: Moment) -> Answer {
    let node = catalog.node(&name(question.node), moment).await.unwrap()?;
    let graph = catalog.walk(&[node.id], question.direction, question.depth, 1000, moment).await.unwrap();
    let called = |id: i64| graph.node(id).unwrap().identity.clone();
    let edges = graph.edges.iter().map(|edge| (called(edge.source), called(edge.target), edge.kind, edge.path.clone()));
    let edges = edges.collect();
    let depths = graph.nodes.iter().map(|reached| (reached.node.identity.clone(), reached.depth)).collect();
    Some((Known { state: node.state, uri: node.uri, properties: node.properties }, depths, edges, graph.truncated))
}

fn expected(world: &World, question: &Question) -> Answer {
    let known = world.nodes.get(&name(question.node))?;
    let (depths, edges, more) = world.reach(&name(question.node), question.direction, question.depth);
    Some((known.clone(), depths, edges, more))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_question_as_of_any_moment_has_the_answer_of_a_naive_model(
        batches in prop::collection::vec((prop::collection::vec(said(), 1..7), prop::bool::weighted(0.8)), 1..12),
        questions in prop::collection::vec(question(), 24),
    ) {
        let stores = Stores::new(Causality::Flag);
        stores.each(async |catalog| {
            // The world after each change, by its number; 0 is the beginning.
            let mut worlds = vec![World::default()];
            let mut refused = Vec::new();
            for (said, whole) in &batches {
                let batch = batch_of(said, *whole);
                let world = worlds.last().unwrap();
                let recorded = catalog.record(&batch).await;
                let Some(after) = world.after(&batch) else {
                    let error = recorded.unwrap_err();
                    assert!(error.is_callers(), "{error:?}");
                    refused.push(error.to_string());
                    continue;
                };
                match recorded.unwrap().change {
                    None => assert_eq!(after, *world),
                    Some(number) => {
                        assert_eq!(usize::try_from(number).unwrap(), worlds.len());
                        worlds.push(after);
                    }
                }
            }
            let mut answers = Vec::new();
            for question in &questions {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a few changes")]
                let place = (question.moment * worlds.len() as f64) as usize;
                let (world, moment) = match worlds.get(place) {
                    Some(world) => (world, Moment::of_change(i64::try_from(place).unwrap())),
                    None => (worlds.last().unwrap(), Moment::NOW),
                };
                let found = answer(catalog, question, moment).await;
                assert_eq!(found, expected(world, question), "{question:?}");
                answers.push(found);
            }
            (answers, refused)
        });
    }

    #[test]
    fn what_is_said_again_is_known(said in prop::collection::vec(said(), 1..10)) {
        let stores = Stores::new(Causality::Flag);
        let _told = stores.each(async |catalog| {
            // Said once whole; what is contradicted within one batch is not the same when it is said again.
            let mut once = batch_of(&said, true);
            once.edges.retain(|edge| !edge.remove);
            once.nodes.iter_mut().for_each(|record| record.properties.retain(|_, value| value.is_some()));
            let mut seen = BTreeSet::new();
            once.nodes.retain(|record| (record.uri.is_none() && record.properties.is_empty()) || seen.insert(record.node.clone()));
            let first = catalog.record(&once).await.map_err(|error| error.to_string());
            if first.is_ok() {
                assert_eq!(catalog.record(&once).await.unwrap(), Recorded::default());
            }
            first
        });
    }
}
