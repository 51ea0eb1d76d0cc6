"""A trained model: load it from its file, ask it about pictures.

::

    model = load("MLModel.zip")
    model.predict("rose.jpg")                   one picture: bars
    model.predict("photos/")                    several: a table
    model.predict_to("answers.csv", "photos/")  any number

Every picture goes through the network by itself, one on each processor core. That is at least as fast as
batches (a batch's layers no longer fit into the cache), and the answer for a picture is the same bit for bit
whatever was asked beside it; ``benchmarks/predict.py`` has the figures.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import archive, bulk
from .bulk import Answer
from .display import Shown, card, details, elide, percent, table, text_table
from .errors import ModelError, PredictionError
from .prediction import (
    MOST_CARDS,
    THUMBNAIL,
    ModelInput,
    ModelOutput,
    Prediction,
    Predictions,
    is_unsure,
    ordered,
)
from .seen import Seen
from .sources import Picture, content_of, count, expand, is_single
from .standing import in_card, of_file
from .training.paths import at_home, brief, unreachable
from .written import Written

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from .explain import Explanation

__all__ = ["Model", "ModelInput", "ModelOutput", "Prediction", "Predictions", "Written", "load"]

MOST_THREADS = 16
AHEAD = 4  # pictures in work for each thread, so that a large one holds up no other


def load(path: str | Path) -> Model:
    """Return the model in an ``MLModel.zip``, a run's folder or a ``bestModel.onnx``.

    Nothing is unpacked onto the disk. Raises ``ModelError`` for a file that is damaged, hostile or not ours, and for
    what a run has left that was cancelled or that failed.
    """
    place = at_home(path)
    if reason := unreachable(place):
        raise ModelError(f"{brief(place)} cannot be opened: {reason}.", "Check the path.")
    standing = of_file(place)
    if standing is not None:
        standing.require("model")
    return Model(archive.read(place))


class Model:
    """An image classifier that Model Builder trained: the network, its class names and its card."""

    def __init__(self, contents: archive.Contents) -> None:
        self._contents = contents
        standing = of_file(contents.path)
        if standing is not None and contents.card.get("run") not in (None, "", standing.record.get("handle")):
            standing = None  # another run's model, that somebody has put here
        self.origin = standing.origin if standing is not None else in_card(contents.card)
        self._seen = Seen(standing.folder if standing is not None else None)

    def __getstate__(self) -> dict[str, Any]:
        # a copy, or the process that unpickles it, opens the network anew when it is first asked
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    @property
    def path(self) -> Path:
        """The file that the model was read from."""
        return self._contents.path

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the network's scores."""
        return self._contents.classes

    @property
    def size(self) -> int:
        """The side, in pixels, of the square picture that the network sees."""
        return self._contents.size

    @property
    def card(self) -> dict[str, Any]:
        """What is known about the model: architecture, metrics, preprocessing, versions, run ..."""
        return dict(self._contents.card)

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures measured on the test images when the model was trained."""
        return dict(self._contents.card.get("metrics") or {})

    @property
    def unsure_below(self) -> float | None:
        """The highest score below which an answer is called unsure, as the training set it; None: never."""
        return self._contents.unsure_below

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the pictures that the model was trained on."""
        return str(self._contents.card.get("fingerprint", ""))

    def predict(
        self, *sources: Any, urls: bool = False, progress: Callable[[int, int | None], None] | None = None
    ) -> Prediction | Predictions:
        """Return the answer for one picture, or the answers for several.

        ``sources``: paths, globs, folders (with all folders in them), the bytes of a file, open binary files,
        Pillow images, arrays (uint8, uint16 or bool: H x W, H x W x 3 or 4; a batch N x H x W x 3), tensors (those,
        or channels first; decimal numbers from 0 to 1), :class:`ModelInput`, a DataFrame with a column
        ``ImageSource``, or lists of these. Addresses (http, https) are fetched only with ``urls=True``.
        ``progress`` is called with the images done and how many there are.

        One picture gives a :class:`Prediction`; if it cannot be read, ``PredictionError``. A folder, a glob,
        a list or several sources give :class:`Predictions`, in which a picture that cannot be read has a row
        with its reason. What is missing, empty or no picture at all is a ``PredictionError`` in any case.
        """
        if not sources:
            raise PredictionError("No picture was given.", "Pass a path, for example: model.predict('rose.jpg')")
        pictures = list(expand(sources, urls=urls))
        if len(sources) == 1 and is_single(sources[0]):
            return self._one(pictures[0])
        return self._several(pictures, progress)

    def predict_to(
        self,
        path: str | Path,
        *sources: Any,
        progress: Callable[[int, int | None], None] | None = None,
        notify: Callable[[str], None] | None = None,
        urls: bool = False,
    ) -> Written:
        """Write the answers for any number of images to a CSV or Parquet file, in constant memory.

        Columns: ``ImageSource, Prediction, Score.<class> ..., Error``, and of a model with a threshold
        ``Unsure`` (True, False); an image that cannot be read has its reason in ``Error``. In CSV, names that a
        spreadsheet would take for formulas begin with an apostrophe; Parquet (``pip install "mb_jupyter[parquet]"``)
        has every name as it is. ``progress`` is called with the images done and how many there are (None when
        ``sources`` holds a generator), ``notify`` with a sentence about what was kept.

        The file appears when it is complete, in place of an older one. Until then the answers are kept beside it, in
        ``<name>.part``: after a stop or a crash the same call continues there.
        """
        target = bulk.check_name(at_home(path))
        total = count(sources, urls=urls)  # also finds what is missing before anything is written
        columns = bulk.Columns(self.classes, self.unsure_below)
        call = bulk.Call(target, columns, self._digest, total, progress, notify)
        return replace(bulk.write(call, expand(sources, urls=urls), self._answers), run=self.origin.text)

    @cached_property
    def _digest(self) -> str:
        """What decides the answers, in one word: the network, the classes, the threshold and the preparation."""
        digest = hashlib.blake2b(self._contents.onnx, digest_size=16)
        digest.update(repr((self.classes, self.size, self.unsure_below, self._contents.prepared)).encode())
        return digest.hexdigest()

    def explain(self, source: Any, *, label: str | None = None, urls: bool = False) -> Explanation:
        """Return which parts of a picture spoke for its class, and for ``label`` too where that is another class.

        Parts are covered one after another and the network is asked again, some 60 times: a second or two.
        ``source`` is one picture as :meth:`predict` takes it.
        """
        from .explain import explain

        return explain(self, source, label=label, urls=urls)

    # -- one picture, several pictures -------------------------------------------------------------------

    def _one(self, picture: Picture) -> Prediction:
        answer = self._answer(picture, thumbnail=True)
        if answer.scores is None:
            raise PredictionError(
                f"{answer.name} cannot be scored: {answer.error}.", "Check the file, or pass another picture."
            )
        scores = ordered(self.classes, answer.scores)
        unsure = is_unsure(next(iter(scores.values())), self.unsure_below)
        return Prediction(
            next(iter(scores)), scores, answer.name, thumbnail=answer.thumbnail, unsure=unsure, seen=answer.seen,
            run=self.origin.text,
        )  # fmt: skip

    def _several(self, pictures: list[Picture], progress: Callable[[int, int | None], None] | None) -> Predictions:
        import numpy as np

        scores = np.full((len(pictures), len(self.classes)), np.nan, np.float32)
        errors, thumbnails, seen = {}, {}, {}
        for i, answer in enumerate(self._answers(pictures, thumbnails=MOST_CARDS)):
            if answer.scores is None:
                errors[i] = answer.error
            else:
                scores[i] = answer.scores
            if answer.thumbnail:
                thumbnails[i] = answer.thumbnail
            if answer.seen:
                seen[i] = answer.seen
            if progress is not None:
                progress(i + 1, len(pictures))
        names = [picture.name for picture in pictures]
        return Predictions(
            self.classes, names, scores, errors, thumbnails, unsure_below=self.unsure_below, seen=seen,
            run=self.origin.text,
        )  # fmt: skip

    def _answers(self, pictures: Iterable[Picture], thumbnails: int = 0) -> Iterator[Answer]:
        """Yield the answers in the order of the pictures, a few pictures ahead on every core."""
        _ = self._session  # made here, once, before several threads ask for it
        threads = min(_cores(), MOST_THREADS)
        waiting: deque[Future[Answer]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="mb-predict")
        try:
            for i, picture in enumerate(pictures):
                waiting.append(pool.submit(self._answer, picture, i < thumbnails))
                if len(waiting) >= AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # an interrupt ends after the pictures in work, not after all
            pool.shutdown(cancel_futures=True)

    def _answer(self, picture: Picture, thumbnail: bool) -> Answer:
        from .training.errors import PictureError

        try:
            content = content_of(picture)
            image = self.opened(content)
        except PictureError as error:
            return Answer(picture.name, None, str(error), b"")
        except OSError as error:
            return Answer(picture.name, None, error.strerror or str(error), b"")
        scores, seen = self.scores(self.squared(image)[None])[0], self.seen(content)
        if not thumbnail:
            return Answer(picture.name, scores, "", b"", seen)
        if max(image.size) < THUMBNAIL and isinstance(content, bytes):
            image = self.opened(content, at_least=THUMBNAIL)  # what a small network needs is too coarse to look at
        return Answer(picture.name, scores, "", _thumbnail(image), seen)

    def seen(self, content: Any) -> str | None:
        """Return the part (train, validation, test) of the run's data that a file, by path or bytes, was in.

        None for any other image, and where the run's folder is not at hand.
        """
        return self._seen.part(content)

    def opened(self, content: Any, *, at_least: int | None = None) -> Image.Image:
        """Return an image upright and in RGB, no larger than the network needs it where that is quicker.

        ``PictureError`` says why it cannot be read.
        """
        from .training.preprocess import open_picture

        return open_picture(content, at_least=at_least or self.size, how=self._contents.prepared)

    def squared(self, image: Image.Image) -> np.ndarray[Any, Any]:
        """Return the pixels of an opened image as the network sees them: uint8 (size, size, 3)."""
        from .training.preprocess import squared

        return squared(image, self.size, self._contents.prepared)

    # -- the network -------------------------------------------------------------------------------------

    @cached_property
    def _session(self) -> Any:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before it is imported: it would report every model
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # one thread a picture and a picture a core: nothing waits for the slower half of a layer
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings go past Jupyter to the server's log
        try:
            return onnxruntime.InferenceSession(self._contents.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for every way to fail
            raise ModelError(
                f"onnxruntime cannot run the network in {self.path}.",
                "Upgrade with: pip install --upgrade onnxruntime",
                archive.AGAIN,
                details=str(error),
            ) from error

    def scores(self, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return probabilities, float32 of shape (N, classes), for prepared pictures: uint8 (N, size, size, 3)."""
        import numpy as np

        try:
            (scores,) = self._session.run(["probabilities"], {"images": pictures})
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"The network in {self.path} failed on a picture.", archive.AGAIN, details=str(error)
            ) from error
        fine = scores.shape == (len(pictures), len(self.classes)) and bool((scores >= 0).all())
        if not fine or not np.allclose(scores.sum(axis=1), 1, atol=1e-3):
            raise ModelError(f"The network in {self.path} answers no probabilities.", archive.AGAIN)
        return np.asarray(scores, np.float32)

    # -- the card ----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Model {self.path}: {len(self.classes)} classes>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        facts = [(name, elide(value, 300)) for name, value in self._facts() if value]
        title = f"Model {self.path.name}: {len(self.classes):,} classes"
        names = [(str(i), name) for i, name in enumerate(self.classes)]
        html = table(("", ""), facts) + details(
            "The classes in the order of their scores", table(("", "Class"), names[:1000], right=(0,))
        )
        text = "\n".join([title, *(f"  {line}" for line in text_table(("", ""), facts).splitlines()[1:])])
        return Shown(text, card(title, html))._repr_mimebundle_()

    def _facts(self) -> Iterator[tuple[str, str]]:
        shown = ", ".join(self.classes[:12])
        more = f" and {len(self.classes) - 12:,} more" if len(self.classes) > 12 else ""
        yield "Classes", shown + more
        yield "Architecture", str(self.card.get("architecture", ""))
        if isinstance(accuracy := self.metrics.get("test_accuracy"), int | float):
            yield "Held-out accuracy", percent(accuracy)
        yield "Takes", f"{self.size} x {self.size} RGB pictures; any picture is brought to that by itself"
        yield "Unsure below", percent(self.unsure_below) if self.unsure_below is not None else ""
        yield "Model", self.origin.text
        yield "Run", str(self.card.get("run", ""))
        yield "Data fingerprint", self.fingerprint
        yield "File", str(self.path)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    # a tiny picture is drawn pixel by pixel, which JPEG would smear
    if max(image.size) <= 64:
        small.save(data, "PNG")
    else:
        small.save(data, "JPEG", quality=85)
    return data.getvalue()
