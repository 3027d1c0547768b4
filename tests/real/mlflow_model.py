"""What MLflow serves: a pyfunc from code, which adds up each row."""

import mlflow.pyfunc
import pandas
from mlflow.models import set_model


class Sum(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pandas.DataFrame):
        return model_input.sum(axis=1).tolist()


set_model(Sum())
