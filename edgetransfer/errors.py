"""Every error that edgetransfer raises on purpose.

* EdgetransferError
  x InputError          an image, array or file handed to the runtime is not what the model takes
  x DataError           a data set (folder, CSV, split) cannot be used
  x BundleError         a bundle is broken, altered, or made by a newer version
    + IntegrityError    a file's sha256 is not the one in the manifest
  x UnknownNameError    no backbone, device, recipe, engine or task of that name
  x RecipeError         this recipe cannot be carried out here
  x DeviceError         a device file is malformed, or the plan does not fit the device
  x WeightsError        pretrained weights are missing or are not the published ones
  x BackboneError       a backbone cannot be built or cut
  x ExportError         the converted graph breaks a promise (flex op, float island, changed features)
  x EngineError         no engine is installed, or it refuses the model
  x OutputError         the output exists already, or cannot be written
  x CacheError          the feature cache cannot be used
  x HostError           another machine cannot be reached, or lacks what the work there needs

Messages say which thing, what was expected, what came, and what to do. The command line prints them as
one line and exits with 1.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMES = 60
"""Of what is known by name, so many are listed where a name is not; there are fewer devices and backbones."""
NEAREST = 12


class EdgetransferError(Exception):
    """Root of every error that edgetransfer raises on purpose."""


class InputError(EdgetransferError, ValueError):
    """An image, array or file handed to the runtime is not what the model takes."""


class DataError(EdgetransferError, ValueError):
    """A data set cannot be used; `problems` lists everything that was found, not only the first."""

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class BundleError(EdgetransferError):
    """A bundle is broken, altered, or made by a newer version."""


class IntegrityError(BundleError):
    """A bundle's file is missing, surplus, or its sha256 is not the one in the manifest."""


class UnknownNameError(EdgetransferError, LookupError):
    """Nothing of that kind has this name; the message suggests the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        import difflib  # here, for it costs every start of the runtime and is needed only now

        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        extra = f" {hint}" if hint else ""
        # A network has hundreds of layers; of so many the nearest are told.
        shown = names if len(names) <= MOST_NAMES else difflib.get_close_matches(name, names, n=NEAREST, cutoff=0.0)
        more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
        super().__init__(f"no {kind} named {name!r}{guess} Known: {', '.join(shown) or 'none'}{more}.{extra}")
        self.kind = kind
        self.name = name
        self.suggestion = near[0] if near else None


class RecipeError(EdgetransferError, ValueError):
    """This recipe cannot be carried out for this backbone, task or device."""


class DeviceError(EdgetransferError, ValueError):
    """A device file is malformed, or the plan does not fit the device."""


class WeightsError(EdgetransferError):
    """Pretrained weights are missing, unreadable, or are not the published ones."""


class BackboneError(EdgetransferError, ValueError):
    """A backbone cannot be built, or has no pooling layer to be cut at."""


class ExportError(EdgetransferError):
    """The converted graph breaks a promise: a flex or custom op, a float island, changed features."""


class EngineError(EdgetransferError):
    """No engine is installed for the bundle's format, or the engine refuses the model."""


class OutputError(EdgetransferError, OSError):
    """The output exists already, or cannot be written."""


class CacheError(EdgetransferError):
    """The cache folder cannot be used."""


class HostError(EdgetransferError):
    """Another machine cannot be reached, or lacks what the work there needs."""
