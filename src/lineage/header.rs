//! The value of `X-Dataset-Version`.
//!
//! Of one training dataset it is the version alone, which is what people look for; of several `NAME@VERSION` of
//! each, joined by `+` in the lineage's order. Bytes that the form reserves, `%`, and all that is not visible ASCII
//! are percent-encoded (RFC 3986, section 2.1), so that decoding gives back what was declared.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Dataset, Role};

/// What is encoded in every value. Beyond ASCII everything is.
const OPAQUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// What is encoded where several are joined. A comma would read as a list of header values.
const JOINED: &AsciiSet = &OPAQUE.add(b'+').add(b'@').add(b',');

/// The header's value: visible ASCII. `None` where no training dataset is known.
pub fn dataset_version(datasets: &[Dataset]) -> Option<String> {
    let training: Vec<_> = datasets.iter().filter(|dataset| dataset.role == Role::Training).collect();
    match training.as_slice() {
        [] => None,
        [one] => Some(utf8_percent_encode(&one.version, OPAQUE).to_string()),
        several => Some(several.iter().map(|dataset| name_and_version(dataset)).collect::<Vec<_>>().join("+")),
    }
}

fn name_and_version(dataset: &Dataset) -> String {
    format!("{}@{}", utf8_percent_encode(&dataset.name, JOINED), utf8_percent_encode(&dataset.version, JOINED))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn dataset(name: &str, version: &str) -> Dataset {
        Dataset { name: name.to_owned(), version: version.to_owned(), ..Dataset::default() }
    }

    #[test]
    fn one_dataset_is_its_version_alone() {
        assert_eq!(dataset_version(&[dataset("transactions", "v2.0+fix")]).unwrap(), "v2.0+fix");
        assert_eq!(dataset_version(&[dataset("t", "é 1%")]).unwrap(), "%C3%A9%201%25");
    }

    #[test]
    fn several_are_joined_in_order() {
        let datasets = [dataset("zeta", "v2.0"), dataset("a+b", "1@2,3")];
        assert_eq!(dataset_version(&datasets).unwrap(), "zeta@v2.0+a%2Bb@1%402%2C3");
    }

    #[test]
    fn only_training_counts() {
        let test = Dataset { role: Role::Test, ..dataset("held-out", "v9") };
        assert_eq!(dataset_version(std::slice::from_ref(&test)), None);
        assert_eq!(dataset_version(&[test, dataset("transactions", "v2.0")]).unwrap(), "v2.0");
        assert_eq!(dataset_version(&[]), None);
    }

    proptest! {
        #[test]
        fn a_value_is_visible_ascii_and_decodes(parts in proptest::collection::vec(("\\PC{1,9}", "\\PC{1,9}"), 1..4)) {
            let datasets: Vec<_> = parts.iter().map(|(name, version)| dataset(name, version)).collect();
            let value = dataset_version(&datasets).unwrap();
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()));
            let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
            if let [(_, version)] = parts.as_slice() {
                prop_assert_eq!(&decoded(&value), version);
            } else {
                let back: Vec<_> = value
                    .split('+')
                    .map(|pair| pair.split_once('@').unwrap())
                    .map(|(name, version)| (decoded(name), decoded(version)))
                    .collect();
                prop_assert_eq!(back, parts);
            }
        }
    }
}
