"""What a model says about the packages it was made with."""

from importlib import metadata

from edgetransfer.pipeline.versions import versions


def test_the_packages_that_are_here_are_named_with_their_version():
    assert versions()["keras"] == metadata.version("keras")
    assert versions()["numpy"] == metadata.version("numpy")


def test_a_package_that_is_missing_is_left_out(monkeypatch):
    real = metadata.version

    def without_keras(name):
        if name == "keras":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without_keras)
    assert "keras" not in versions()
    assert "numpy" in versions()
