//! The Open Inference Protocol V2 over REST, as far as one small model needs it: what a request gets. Pure.
//!
//! Errors are the protocol's own, `{"error": "…"}` with a status from 400, and say what would have been right, so
//! that this server can be explored with `curl`. It does not know sockets, and nothing of lineage: it is a model
//! server like any other.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data::{COLUMNS, Transaction};
use super::model::{Model, THRESHOLD};

/// The input tensor's name.
pub(super) const INPUT: &str = "transaction";
/// Its data type, and the probability's.
const FP64: &str = "FP64";
/// The output tensors. The decision stands first: the proxy's configuration points at it.
const OUTPUTS: [(&str, &str); 2] = [("decision", "BYTES"), ("fraud_probability", FP64)];
/// Transactions in one request.
const ROWS_MAX: usize = 1024;
/// Decimals of a probability, as a factor.
const PROBABILITY_STEPS: f64 = 1e4;

/// A model as a server offers it.
#[derive(Clone, Debug)]
pub(super) struct Servable {
    /// Its name in paths.
    pub(super) name: &'static str,
    /// Its version in paths and answers: the server's own numbering.
    pub(super) version: &'static str,
    pub(super) model: Model,
}

/// Status and body of an answer; the body is JSON.
pub(super) type Answer = (StatusCode, String);

/// A refusal: status and what the body says.
type Refusal = (StatusCode, String);

#[derive(Deserialize)]
struct InferRequest {
    id: Option<String>,
    inputs: Vec<Input>,
    outputs: Option<Vec<Wanted>>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Value,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 1],
    data: Vec<Value>,
}

/// Answers a request.
pub(super) fn answer(servable: &Servable, method: &Method, path: &str, body: &[u8]) -> Answer {
    let answered = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["v2"] => {
            read(method, || json!({"name": "touchmark-demo", "version": env!("CARGO_PKG_VERSION"), "extensions": []}))
        }
        ["v2", "health", "live"] => read(method, || json!({"live": true})),
        ["v2", "health", "ready"] => read(method, || json!({"ready": true})),
        ["v2", "models", name, "versions", version, rest @ ..] => {
            servable.check(name, Some(version)).and_then(|()| servable.answer(method, rest, body))
        }
        ["v2", "models", name, rest @ ..] => {
            servable.check(name, None).and_then(|()| servable.answer(method, rest, body))
        }
        _ => Err((StatusCode::NOT_FOUND, format!("'{path}' is no path of the V2 protocol"))),
    };
    answered.unwrap_or_else(|(status, error)| (status, json!({ "error": error }).to_string()))
}

impl Servable {
    fn check(&self, name: &str, version: Option<&str>) -> Result<(), Refusal> {
        if name != self.name {
            return Err((StatusCode::NOT_FOUND, format!("model '{name}' is not here, '{}' is", self.name)));
        }
        match version {
            Some(version) if version != self.version => Err((
                StatusCode::NOT_FOUND,
                format!("version '{version}' of model '{name}' is not here, '{}' is", self.version),
            )),
            _ => Ok(()),
        }
    }

    fn answer(&self, method: &Method, operation: &[&str], body: &[u8]) -> Result<Answer, Refusal> {
        match operation {
            [] => read(method, || self.metadata()),
            ["ready"] => read(method, || json!({"name": self.name, "ready": true})),
            ["infer"] if method == Method::POST => self.infer(body),
            ["infer"] => Err((StatusCode::METHOD_NOT_ALLOWED, "infer takes POST".to_owned())),
            other => Err((StatusCode::NOT_FOUND, format!("'{}' is nothing that a model can do", other.join("/")))),
        }
    }

    fn metadata(&self) -> Value {
        let outputs = OUTPUTS.map(|(name, datatype)| json!({"name": name, "datatype": datatype, "shape": [-1]}));
        json!({
            "name": self.name,
            "versions": [self.version],
            "platform": "touchmark-demo",
            "inputs": [{"name": INPUT, "datatype": FP64, "shape": [-1, COLUMNS.len()]}],
            "outputs": outputs,
        })
    }

    fn infer(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let request: InferRequest = serde_json::from_slice(body).map_err(|error| bad(format!("body: {error}")))?;
        let rows = rows(&request.inputs)?;
        let wanted = wanted(request.outputs.as_deref())?;
        let probabilities: Vec<f64> = rows.iter().map(|row| self.model.probability(row)).collect();
        let outputs = OUTPUTS.into_iter().filter(|(name, _)| wanted(name)).map(|(name, datatype)| Output {
            name,
            datatype,
            shape: [rows.len()],
            data: probabilities.iter().map(|probability| output(name, *probability)).collect(),
        });
        let response = InferResponse {
            model_name: self.name,
            model_version: self.version,
            id: request.id,
            outputs: outputs.collect(),
        };
        serde_json::to_string(&response)
            .map(|body| (StatusCode::OK, body))
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }
}

fn read(method: &Method, body: impl FnOnce() -> Value) -> Result<Answer, Refusal> {
    if method == Method::GET {
        Ok((StatusCode::OK, body().to_string()))
    } else {
        Err((StatusCode::METHOD_NOT_ALLOWED, "this path takes GET".to_owned()))
    }
}

fn bad(error: String) -> Refusal {
    (StatusCode::BAD_REQUEST, error)
}

fn rows(inputs: &[Input]) -> Result<Vec<Transaction>, Refusal> {
    let [Input { name, shape, datatype, data }] = inputs else {
        return Err(bad(format!("inputs: {} tensors, expected one named '{INPUT}'", inputs.len())));
    };
    if name != INPUT {
        return Err(bad(format!("inputs: tensor '{name}' is unknown, expected '{INPUT}'")));
    }
    if datatype != FP64 {
        return Err(bad(format!("inputs: '{INPUT}' has datatype '{datatype}', expected '{FP64}'")));
    }
    let count = match shape.as_slice() {
        [count @ 1..=ROWS_MAX, columns] if *columns == COLUMNS.len() => *count,
        _ => {
            let (columns, names) = (COLUMNS.len(), COLUMNS.join(", "));
            let error = format!("'{INPUT}' has shape {shape:?}, expected [1 to {ROWS_MAX}, {columns}]: {names}");
            return Err(bad(format!("inputs: {error}")));
        }
    };
    let mut flat = Vec::new();
    flatten(data, &mut flat)?;
    if flat.len() != count * COLUMNS.len() {
        let (has, expected) = (flat.len(), count * COLUMNS.len());
        return Err(bad(format!("inputs: '{INPUT}' has {has} values, its shape {shape:?} means {expected}")));
    }
    Ok(flat.as_chunks::<{ COLUMNS.len() }>().0.iter().copied().map(Transaction::from_row).collect())
}

/// Row-major values, whether nested or flat: the protocol allows both. The JSON parser has bounded the depth.
fn flatten(data: &Value, flat: &mut Vec<f64>) -> Result<(), Refusal> {
    match data {
        Value::Array(elements) => elements.iter().try_for_each(|element| flatten(element, flat)),
        Value::Number(number) => {
            flat.extend(number.as_f64());
            Ok(())
        }
        other => Err(bad(format!("inputs: '{INPUT}' holds {other}, expected numbers"))),
    }
}

/// Which outputs are asked for; all where nothing is said.
fn wanted(outputs: Option<&[Wanted]>) -> Result<impl Fn(&str) -> bool, Refusal> {
    let is_known = |wanted: &&Wanted| OUTPUTS.iter().any(|(name, _)| *name == wanted.name);
    if let Some(unknown) = outputs.and_then(|outputs| outputs.iter().find(|wanted| !is_known(wanted))) {
        let [(decision, _), (probability, _)] = OUTPUTS;
        return Err(bad(format!("outputs: '{}' is unknown, there are {decision} and {probability}", unknown.name)));
    }
    Ok(move |name: &str| outputs.is_none_or(|outputs| outputs.iter().any(|wanted| wanted.name == name)))
}

fn output(name: &str, probability: f64) -> Value {
    if name == OUTPUTS[0].0 {
        json!(decision(probability))
    } else {
        json!((probability * PROBABILITY_STEPS).round() / PROBABILITY_STEPS)
    }
}

fn decision(probability: f64) -> &'static str {
    if probability < THRESHOLD { "approve" } else { "review" }
}

#[cfg(test)]
mod tests {
    use super::super::data::Dataset;
    use super::super::model::Parameters;
    use super::*;

    const ROW: &str = r#"{"inputs":[{"name":"transaction","shape":[1,4],"datatype":"FP64","data":[38.2,14,2.1,0]}]}"#;

    fn ask(method: &Method, path: &str, body: &str) -> (u16, Value) {
        let model = Model::train(&Dataset::v1(), &Parameters { epochs: 1, rate: 0.5, seed: 1 });
        let servable = Servable { name: "fraud", version: "1", model };
        let (status, body) = answer(&servable, method, path, body.as_bytes());
        (status.as_u16(), serde_json::from_str(&body).unwrap())
    }

    fn infer(body: &str) -> (u16, Value) {
        ask(&Method::POST, "/v2/models/fraud/infer", body)
    }

    #[test]
    fn a_transaction_is_judged() {
        let (status, body) = infer(ROW);
        assert_eq!(status, 200, "{body}");
        assert_eq!((&body["model_name"], &body["model_version"]), (&json!("fraud"), &json!("1")));
        assert_eq!(body.pointer("/outputs/0/data/0"), Some(&json!("approve")));
        assert!(body.pointer("/outputs/1/data/0").unwrap().as_f64().unwrap() < THRESHOLD);
        assert!(body.get("id").is_none());
    }

    #[test]
    fn rows_may_be_nested_and_many_and_outputs_chosen() {
        let (status, body) = infer(
            r#"{"id":"b7","inputs":[{"name":"transaction","shape":[2,4],"datatype":"FP64",
                "data":[[9.5,12,1,800],[2400,3,900,300]]}],"outputs":[{"name":"decision"}]}"#,
        );
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["id"], "b7");
        let outputs = json!([{"name": "decision", "datatype": "BYTES", "shape": [2], "data": ["approve", "review"]}]);
        assert_eq!(body["outputs"], outputs);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_mend() {
        for (from, to, mend) in [
            (ROW, "", "body: EOF"),
            (ROW, r#"{"inputs":[]}"#, "expected one named 'transaction'"),
            ("[1,4]", "[1,3]", "expected [1 to 1024, 4]: amount_eur, hour"),
            ("[1,4]", "[0,4]", "expected [1 to 1024, 4]"),
            ("[1,4]", "[4]", "expected [1 to 1024, 4]"),
            ("[1,4]", "[1025,4]", "expected [1 to 1024, 4]"),
            ("[1,4]", "[2,4]", "means 8"),
            ("FP64", "INT8", "expected 'FP64'"),
            ("38.2", "\"much\"", "expected numbers"),
            (r#""transaction""#, r#""x""#, "expected 'transaction'"),
            (r#"{"inputs""#, r#"{"outputs":[{"name":"y"}],"inputs""#, "there are decision and fraud_probability"),
        ] {
            let (status, body) = infer(&ROW.replace(from, to));
            assert_eq!(status, 400, "{from} -> {to}: {body}");
            assert!(body["error"].as_str().unwrap().contains(mend), "{from} -> {to}: {body}");
        }
    }

    #[test]
    fn paths_and_methods() {
        for (method, path, status) in [
            (Method::GET, "/v2", 200),
            (Method::GET, "/v2/health/live", 200),
            (Method::GET, "/v2/health/ready", 200),
            (Method::GET, "/v2/models/fraud", 200),
            (Method::GET, "/v2/models/fraud/versions/1", 200),
            (Method::GET, "/v2/models/fraud/versions/1/ready", 200),
            (Method::POST, "/v2/models/fraud/versions/1/infer", 200),
            (Method::POST, "/v2/models/fraud/versions/2/infer", 404),
            (Method::POST, "/v2/models/other/infer", 404),
            (Method::POST, "/v2/models/fraud/explain", 404),
            (Method::GET, "/v1/models", 404),
            (Method::GET, "/v2/models/fraud/infer", 405),
            (Method::POST, "/v2/health/live", 405),
        ] {
            let (got, body) = ask(&method, path, ROW);
            assert_eq!(got, status, "{method} {path}: {body}");
            assert_eq!(body.get("error").is_some(), status >= 400, "{method} {path}: {body}");
        }
        let (_, metadata) = ask(&Method::GET, "/v2/models/fraud", "");
        assert_eq!(metadata["inputs"][0], json!({"name": "transaction", "datatype": "FP64", "shape": [-1, 4]}));
    }
}
