"""What is read of Keras's insides: it is all there, and a Keras without it is told apart."""

import warnings

import keras
import pytest

from headrace.keras import connect, internals
from headrace.keras.adapter import LoaderAdapter


def test_this_keras_has_everything():
    """Whichever release, on whichever backend: nothing differs."""
    assert internals.differences(LoaderAdapter) == ([], [])


@pytest.fixture
def plain(monkeypatch):
    """Keras as it is before `connect`."""
    monkeypatch.setattr(internals.data_adapters, "get_data_adapter", internals.get_data_adapter)


def test_a_renamed_local_of_fit_leaves_loaders_plain(plain, monkeypatch):
    """Else rows that validate would be taken for rows to train on."""

    def fit(self, epochs, initial_epoch, validation_data, validation_split, callbacks):
        return self._initial_epoch

    monkeypatch.setattr(keras.Model, "fit", fit)
    with pytest.warns(UserWarning, match="no epoch_iterator in fit.*plain PyDataset"):
        connect.connect()
    assert internals.data_adapters.get_data_adapter is internals.get_data_adapter


def test_a_new_demand_on_adapters_leaves_loaders_plain(plain, monkeypatch):
    """As Keras 3.16 made one: `get_jax_iterator(super_batch=)`."""

    class Adapter(internals.DataAdapter):
        def get_jax_iterator(self, super_batch=None, device=None):
            return iter(())

    monkeypatch.setattr(internals, "DataAdapter", Adapter)
    with pytest.warns(UserWarning, match=r"calls get_jax_iterator\(\) with device"):
        connect.connect()
    assert internals.data_adapters.get_data_adapter is internals.get_data_adapter


def test_a_moved_function_leaves_loaders_plain(monkeypatch):
    """The function that is wrapped is nowhere to be found."""
    monkeypatch.setattr(internals, "data_adapters", None)
    with pytest.warns(UserWarning, match="has moved get_data_adapter"):
        connect.connect()


def test_a_single_missing_feature_is_named_and_the_rest_works(plain, monkeypatch):
    """Loaders keep their own adapter."""
    monkeypatch.setattr(internals, "merge_summaries", None)
    with pytest.warns(UserWarning, match=r"adapt\(\) does not accept a Discretization"):
        connect.connect()
    assert internals.data_adapters.get_data_adapter is not internals.get_data_adapter


def test_connecting_again_changes_nothing():
    """It is called each time that the package and Keras meet."""
    wrapped = internals.data_adapters.get_data_adapter
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect.connect()
    assert internals.data_adapters.get_data_adapter is wrapped
