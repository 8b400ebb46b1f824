//! A filter in serde: an object with `op`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Comparison, Condition, Filter};

/// A filter as it is read and written.
#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Form {
    Eq { path: String, value: Value },
    Ne { path: String, value: Value },
    Lt { path: String, value: Value },
    Le { path: String, value: Value },
    Gt { path: String, value: Value },
    Ge { path: String, value: Value },
    Between { path: String, low: Value, high: Value },
    In { path: String, values: Vec<Value> },
    Prefix { path: String, value: String },
    Exists { path: String },
    Contains { path: String, value: Value },
    Element { path: String, of: Box<Form> },
    All { of: Vec<Form> },
    Any { of: Vec<Form> },
    Not { of: Box<Form> },
}

impl From<Form> for Filter {
    fn from(form: Form) -> Self {
        let each = |of: Vec<Form>| of.into_iter().map(Self::from);
        match form {
            Form::Eq { path, value } => Self::eq(&path, value),
            Form::Ne { path, value } => Self::ne(&path, value),
            Form::Lt { path, value } => Self::lt(&path, value),
            Form::Le { path, value } => Self::le(&path, value),
            Form::Gt { path, value } => Self::gt(&path, value),
            Form::Ge { path, value } => Self::ge(&path, value),
            Form::Between { path, low, high } => Self::between(&path, low, high),
            Form::In { path, values } => Self::is_in(&path, values),
            Form::Prefix { path, value } => Self::prefix(&path, value),
            Form::Exists { path } => Self::exists(&path),
            Form::Contains { path, value } => Self::contains(&path, value),
            Form::Element { path, of } => Self::element(&path, Self::from(*of)),
            Form::All { of } => Self::all(each(of)),
            Form::Any { of } => Self::any(each(of)),
            Form::Not { of } => Self::not(Self::from(*of)),
        }
    }
}

impl From<&Condition> for Form {
    fn from(condition: &Condition) -> Self {
        let each = |parts: &[Condition]| parts.iter().map(Self::from).collect();
        match condition {
            Condition::Compare { path, comparison, value } => {
                let (path, value) = (path.to_string(), value.clone());
                match comparison {
                    Comparison::Eq => Self::Eq { path, value },
                    Comparison::Ne => Self::Ne { path, value },
                    Comparison::Lt => Self::Lt { path, value },
                    Comparison::Le => Self::Le { path, value },
                    Comparison::Gt => Self::Gt { path, value },
                    Comparison::Ge => Self::Ge { path, value },
                }
            }
            Condition::Between { path, low, high } => {
                Self::Between { path: path.to_string(), low: low.clone(), high: high.clone() }
            }
            Condition::In { path, values } => {
                Self::In { path: path.to_string(), values: values.clone() }
            }
            Condition::Prefix { path, prefix } => {
                Self::Prefix { path: path.to_string(), value: prefix.clone() }
            }
            Condition::Exists { path } => Self::Exists { path: path.to_string() },
            Condition::All(parts) => Self::All { of: each(parts) },
            Condition::Any(parts) => Self::Any { of: each(parts) },
            Condition::Not(of) => Self::Not { of: Box::new(Self::from(&**of)) },
            Condition::Element { path, of } => {
                Self::Element { path: path.to_string(), of: Box::new(Self::from(&**of)) }
            }
        }
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let condition = self.condition().map_err(serde::ser::Error::custom)?;
        Form::from(condition).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let filter = Self::from(Form::deserialize(deserializer)?);
        filter.check().map_err(D::Error::custom)?;
        Ok(filter)
    }
}
