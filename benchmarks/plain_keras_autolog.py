"""plain_keras.py with the lines that record it in MLflow without more work: `autolog`, as MLflow's guide has it.

    python plain_keras_autolog.py --model lenet5 --data digits.npz

TensorFlow brings TensorBoard no more, and autolog ends the training where it is not installed.
"""

import mlflow
import plain_keras

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.tensorflow.autolog()
plain_keras.main()
