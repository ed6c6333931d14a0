"""A distribution of somebody else: its plugins do what the built-in ones do, by the public interface alone."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from click.testing import CliRunner

from synap_core.api import FormatString, Frontend, ModelRequest, OutputFormat, Runtime, RuntimeModel, TensorMeta
from synap_core.convert import Converted, ConvertRequest, convert, write
from synap_core.errors import InputError, ModelExecutionError
from synap_core.graph.groups import group as group_nodes
from synap_core.host import PluginHost
from synap_core.inspection import inspect_file
from synap_core.layer_support import layer_support
from synap_core.network import Network
from tests.support.canonical import run as run_graph
from tests.support.streaming import Stream
from tests.support.toy_source import six_graph

ROOT = Path(__file__).parents[1]
TOY = ROOT / "tests" / "thirdparty" / "synap-toy"
PROJECT = tomllib.loads((TOY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINTS: dict[str, str] = PROJECT["entry-points"]["synap.plugins"]
BUILT_IN = {"delegate-cpu": "synap_delegate_cpu.plugin", "output-synap": "synap_output_synap.plugin"}
SOURCES = sorted((TOY / "src").rglob("*.py"))

# Taken before any test changes it: pip must find the settings of the machine, and the rest must not.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("SYNAP_", "PYTHON"))}

MODEL = "toy 1\ninput x 1 4 float32\nlayer y scale 2.0 x\nlayer z add y x\noutput z\n"
CHAIN = "toy 1\ninput x 1 4 float32\nlayer a scale 10 x\nlayer b scale 3 a\nlayer c add b b\noutput c\n"
SWIRL = "toy 1\ninput x 1 4 float32\nlayer y scale 2.0 x\nlayer q swirl 3 y\noutput q\n"
X = np.array([[1, -2, 0.5, 4]], np.float32)
THREE_X = [[3, -6, 1.5, 12]]

ConvertToy = Callable[..., Converted]
RunToy = Callable[..., Network]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginHost]:
    """The toy plugins, from their sources, and no installed ones: not even those of an installed synap-toy."""

    def imported() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "synap_toy"]

    for name in imported():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(TOY / "src")
    host = PluginHost(group="synap.none")
    for name, module in (ENTRY_POINTS | BUILT_IN).items():
        record = host.register(importlib.import_module(module), name)
        assert record.state == "enabled", record.reason
    yield host
    for name in imported():
        del sys.modules[name]


@pytest.fixture
def convert_toy(host: PluginHost, tmp_path: Path) -> ConvertToy:
    """Convert the text of a model, with the text of a metafile."""

    def call(text: str | bytes, meta: str = "", target: str = "TOY1") -> Converted:
        model, metafile = tmp_path / "m.toy", tmp_path / "meta.yaml"
        model.write_bytes(text if isinstance(text, bytes) else text.encode())
        metafile.write_text(meta, encoding="utf-8")
        return convert(ConvertRequest(model=model, target=target, meta=metafile), host)

    return call


@pytest.fixture
def load_toy(convert_toy: ConvertToy, host: PluginHost, tmp_path: Path) -> RunToy:
    """Convert a model into a bundle and load that in this process."""

    def call(text: str, meta: str = "", target: str = "TOY1") -> Network:
        output = host.find(OutputFormat, "synap")
        written = write(convert_toy(text, meta, target).conversion, output, tmp_path / "out", host)
        return Network(written.files[0], host=host, isolate=False)

    return call


def test_each_entry_point_offers_its_feature(host: PluginHost) -> None:
    offers = {record.name: record.provides for record in host.records if record.name in ENTRY_POINTS}
    assert offers == {
        "command-hello": (("command", "hello"),),
        "delegate-dsp": (("delegate", "dsp"),),
        "frontend-toy": (("frontend", "toy"),),
        "output-names": (("output format", "names"),),
        "runtime-toy": (("runtime", "toy"),),
        "target-toy1": (("target", "TOY1"),),
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_plugin_imports_nothing_of_the_core_but_its_interface(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in modules if name.startswith("synap_core")} <= {"synap_core.api"}


def test_registration_loads_nothing_heavy() -> None:
    code = f"import sys, {', '.join(ENTRY_POINTS.values())}; print(*sorted({{'numpy', 'click'}} & set(sys.modules)))"
    paths = os.pathsep.join([str(TOY / "src"), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == []


@pytest.mark.parametrize("target", ["TOY1", "toyboard"], ids=["name", "alias"])
def test_model_is_converted_and_run(load_toy: RunToy, tmp_path: Path, target: str) -> None:
    network = load_toy(MODEL, target=target)
    assert [(t.name, t.shape, t.dtype, t.layout) for t in network.inputs] == [("x", (1, 4), "float32", "none")]
    np.testing.assert_array_equal(network.predict([X])[0], THREE_X)
    assert "layer z add y x" in (tmp_path / "out" / "model_info.txt").read_text()


@pytest.mark.parametrize(
    ("text", "meta", "expected"),
    [
        (MODEL, "outputs: [{name: y}]", [[2, -4, 1, 8]]),
        (CHAIN, "inputs: [{name: a, shape: [1, 4]}]", [[6, -12, 3, 24]]),
        (CHAIN, "inputs: [{name: a, shape: [1, 4]}]\noutputs: [{name: b}]", THREE_X),
    ],
    ids=["output", "input", "both"],
)
def test_model_is_cut_at_an_intermediate_tensor(
    load_toy: RunToy, text: str, meta: str, expected: list[list[float]]
) -> None:
    np.testing.assert_array_equal(load_toy(text, meta).predict([X])[0], expected)


def test_layers_with_other_options_become_a_subgraph_of_their_own(convert_toy: ConvertToy, load_toy: RunToy) -> None:
    meta = "delegate: {'*': dsp, z: dsp gain=2}"
    first, second = convert_toy(MODEL, meta).conversion.artifacts
    assert (first.delegate, second.delegate) == ("toy", "toy gain=2")
    assert first.model == b"toy 1\ninput x 1 4 float32\nlayer y scale 2.0 x\noutput y\n"
    assert second.model == b"toy 1\ninput x 1 4 float32\ninput y 1 4 float32\nlayer z add y x\noutput z\n"
    # y = 2 x; z = 2 (y + x)
    np.testing.assert_array_equal(load_toy(MODEL, meta).predict([X])[0], [[6, -12, 3, 24]])


def test_unknown_option_is_reported_and_the_known_one_honoured(load_toy: RunToy) -> None:
    network = load_toy(MODEL, "delegate: dsp speed=3 gain=0.5")
    assert network.notes == ("0/subgraph_0.toy: unknown option 'speed' is ignored",)
    np.testing.assert_array_equal(network.predict([X])[0], [[1.5, -3, 0.75, 6]])


def test_state_lasts_until_it_is_reset(load_toy: RunToy) -> None:
    network = load_toy("toy 1\ninput x 1 4 float32\nlayer t accumulate x\nlayer u scale 10 t\noutput u\n")
    np.testing.assert_array_equal(network.predict([X])[0], 10 * X)
    np.testing.assert_array_equal(network.predict([X])[0], 20 * X)
    network.reset()
    np.testing.assert_array_equal(network.predict([X])[0], 10 * X)


def test_batch_becomes_one_and_images_are_nhwc(convert_toy: ConvertToy, load_toy: RunToy) -> None:
    text = "toy 1\ninput x 8 2 2 3 float16\nlayer y scale 0.5 x\noutput y\n"
    assert convert_toy(text).conversion.notes == ("batch of input 'x' changed from 8 to 1",)
    network = load_toy(text)
    assert (network.inputs[0].shape, network.inputs[0].layout) == ((1, 2, 2, 3), "nhwc")
    x = np.arange(12, dtype=np.float16).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(network.predict([x])[0], x / 2, strict=True)


def test_anchors_reach_the_format_string(load_toy: RunToy) -> None:
    text = MODEL.replace("output z", "anchors 0.5 2\noutput z")
    network = load_toy(text, "outputs: [{format: 'boxes anchors=${ANCHORS}'}]")
    assert network.outputs[0].data_format == "boxes anchors=[0.5,2.0]"


def test_unknown_operator_is_refused_by_name(convert_toy: ConvertToy) -> None:
    match = r"layer 'q' \(swirl\) cannot run on dsp because it knows the operators accumulate, add, scale only"
    with pytest.raises(InputError, match=match):
        convert_toy(SWIRL)


def test_unknown_operator_that_is_cut_away_is_a_warning(convert_toy: ConvertToy) -> None:
    converted = convert_toy(SWIRL, "outputs: [{name: y}]")
    assert [layer.name for layer in converted.conversion.subgraphs[0].part.layers] == ["y"]
    assert "layer 'q' has the operator 'swirl', which the toy format does not define" in converted.warnings


def test_built_in_delegate_runs_the_foreign_format_as_operators(convert_toy: ConvertToy) -> None:
    (artifact,) = convert_toy(MODEL, "delegate: cpu").conversion.artifacts
    assert (artifact.model_file, artifact.delegate) == ("subgraph_0.onnx", "onnx cpu=1 ")
    session = onnxruntime.InferenceSession(artifact.model, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], THREE_X)


def test_built_in_delegate_refuses_what_no_operator_expresses(convert_toy: ConvertToy) -> None:
    with pytest.raises(InputError, match="1 layer cannot run on cpu: 'q' .*it cannot be expressed in ONNX operators"):
        convert_toy(SWIRL, "delegate: cpu")


def test_delegate_refuses_the_layers_of_another_format(host: PluginHost) -> None:
    source = six_graph()
    support = host.delegates["dsp"].support(source.layers[1], source, host.targets["TOY1"])
    assert (support.ok, support.reason) == (False, "it runs the format toy, not tflite")


@pytest.mark.usefixtures("host")
def test_comments_and_blank_lines_are_all_that_writing_leaves_out() -> None:
    text = importlib.import_module("synap_toy.text")
    start, end = "toy 1\ninput x 1 4 float16\n", "layer y scale 1e-05 x\nanchors 0.1 -2.0\noutput x\noutput y\n"
    assert text.render(text.parse(f"{start}\n # why\r\n{end}".encode(), "m.toy")).decode() == start + end


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("toy 2\n", 1, "the first line must be 'toy 1', not 'toy 2'"),
        ("toy 1\n\nconstant c 1\n", 3, "unknown statement 'constant'; allowed: input, layer, anchors, output"),
        ("toy 1\ninput x float32\n", 2, "an input needs a name, 1 to 8 dimensions and a type"),
        ("toy 1\ninput x 1 1 1 1 1 1 1 1 1 float32\n", 2, "an input needs a name, 1 to 8 dimensions and a type"),
        ("toy 1\ninput x 1 -4 float32\n", 2, "dimension '-4' is not an integer from 1 to 999999999"),
        ("toy 1\ninput x 1 4 int8\n", 2, "unknown type 'int8'; allowed: float32, float16"),
        ("toy 1\ninput 9x 1 4 float32\n", 2, "'9x' is not a name"),
        (f"toy 1\ninput {'x' * 101} 1 4 float32\n", 2, f"'{'x' * 40}…' is not a name"),
        ("toy 1\ninput x 1 20000000 float32\n", 2, "up to here the tensors have more than 16777216 items"),
        (MODEL + "layer y scale 1 x\n", 6, "the name 'y' is taken already"),
        (MODEL + "layer w scale\n", 6, "a layer needs a name, an operator and a tensor"),
        (MODEL + "layer w 2 x\n", 6, "'2' is not an operator"),
        (MODEL + "layer w scale x 1 2\n", 6, "operator 'scale' takes 1 numbers and 1 tensors, not 2 and 1"),
        (MODEL + "layer w scale 1e999 x\n", 6, "'1e999' is not a finite number"),
        (MODEL + "layer w add x w\n", 6, "no line above gives or computes the tensor 'w'"),
        (MODEL + "layer w swirl 3\n", 6, "a layer needs a tensor to work on"),
        (MODEL + "input v 1 5 float32\nlayer w add x v\n", 7, "the tensors 'x' and 'v' differ in shape or type"),
        (MODEL + "output z\n", 6, "output 'z' is listed twice"),
        (MODEL + "output y z\n", 6, "an output has one name, not 2"),
        (MODEL + "anchors 1 x\n", 6, "'x' is not a finite number"),
        (MODEL + "anchors 1\nanchors 1\n", 7, "a model has one line of anchors, with at least one number"),
        (b"toy 1\n# \xe9\n", 2, "byte 0xe9 is not UTF-8 text"),
    ],
    ids=lambda value: value.split(" ", 1)[0] if isinstance(value, str) and "\n" not in value else "",
)
def test_broken_file_is_refused_with_its_line(
    convert_toy: ConvertToy, tmp_path: Path, text: str | bytes, line: int, problem: str
) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'm.toy'}:{line}: {problem}")):
        convert_toy(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MODEL.removesuffix("output z\n"), "m.toy: the model has no output; end it with"),
        (MODEL + "#" * (1 << 20), "m.toy: the model has more than 1048576 bytes"),
        ("ply 1\n", "m.toy: not a toy model, although its name ends in '.toy'"),
    ],
    ids=["no output", "too large", "other content"],
)
def test_file_that_is_wrong_as_a_whole_is_refused_by_name(convert_toy: ConvertToy, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        convert_toy(text)


def test_file_that_vanishes_is_no_defect_of_the_plugin(host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone.toy: cannot read the model: No such file"):
        host.find(Frontend, "toy").open(ModelRequest(path=tmp_path / "gone.toy"))


def load_text(host: PluginHost, text: str, dtype: str = "float32") -> Callable[[list[np.ndarray]], object]:
    """Load a text that claims to have an input x and an output z of shape 1x4."""
    tensors = {name: TensorMeta(label=name, name=name, shape=(1, 4), dtype=dtype) for name in "xz"}
    model = RuntimeModel(
        name="0/m.toy",
        model=text.encode(),
        inputs=(tensors["x"],),
        outputs=(tensors["z"],),
        options=FormatString.parse("toy"),
    )
    return host.find(Runtime, "toy").load(model).run


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MODEL.replace("add", "swirl"), "0/m.toy: layer 'z' has the unknown operator 'swirl'; known: scale, add"),
        (MODEL.replace("1 4", "1 5"), "0/m.toy: the tensors x are not what the metadata describes"),
        (MODEL + "output y\n", "0/m.toy: the tensors z, y are not what the metadata describes"),
    ],
    ids=["operator", "shape", "outputs"],
)
def test_runtime_refuses_a_model_that_was_tampered_with(host: PluginHost, text: str, problem: str) -> None:
    with pytest.raises(ModelExecutionError, match=re.escape(problem)):
        load_text(host, text)


def test_runtime_lets_numbers_grow_infinite(host: PluginHost) -> None:
    run = load_text(host, MODEL.replace("float32", "float16").replace("2.0", "1e30"), "float16")
    inf = np.inf
    np.testing.assert_array_equal(run([X.astype(np.float16)]), [[[inf, -inf, inf, inf]]])


def test_output_format_lists_the_files(host: PluginHost, convert_toy: ConvertToy, tmp_path: Path) -> None:
    conversion = convert_toy(MODEL, "delegate: {'*': dsp, z: dsp gain=2}").conversion
    written = write(conversion, host.find(OutputFormat, "names"), tmp_path / "list", host)
    assert written.files == (tmp_path / "list" / "names.txt",)
    assert written.files[0].read_text() == "subgraph_0.toy toy\nsubgraph_1.toy toy gain=2\n"


def canonical(host: PluginHost, tmp_path: Path, text: str) -> ir.Model:
    path = tmp_path / "m.toy"
    path.write_text(text)
    graph = convert(ConvertRequest(model=path, target="TOY1", whole_graph=True), host).conversion.graph
    assert graph is not None
    return graph


def test_model_becomes_one_graph(host: PluginHost, tmp_path: Path) -> None:
    graph = canonical(host, tmp_path, MODEL)
    assert [group.layer_id for group in group_nodes(graph)] == ["scale_y_0", "add_z_1"]
    np.testing.assert_array_equal(run_graph(graph, [X])[0], X * 3)


def test_variable_becomes_an_input_and_an_output(host: PluginHost, tmp_path: Path) -> None:
    stream = Stream(canonical(host, tmp_path, "toy 1\ninput x 1 4 float32\nlayer t accumulate x\noutput t\n"))
    for count in (1, 2, 3):
        np.testing.assert_array_equal(stream([X])[0], X * count)


def test_operator_that_cannot_be_imported_is_named(host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'q' \(swirl\): the toy format does not define .*outputs: \[.name: 'y'"):
        canonical(host, tmp_path, SWIRL)
    path = tmp_path / "m.toy"
    assert [item.status for item in layer_support(host, path)] == ["imported", "unknown"]
    assert [entry.name for entry in host.find(Frontend, "toy").operators()] == ["scale", "add", "accumulate"]


def test_model_can_be_inspected(host: PluginHost, tmp_path: Path) -> None:
    path = tmp_path / "m.toy"
    path.write_text(MODEL)
    shown = inspect_file(path, host)
    assert (shown["kind"], shown["delegates"]) == ("toy", ["dsp"])


def test_command_says_hello(host: PluginHost) -> None:
    result = CliRunner().invoke(host.commands["hello"].load())
    assert (result.exit_code, result.output) == (0, "Hello from synap-toy\n")


@dataclass(frozen=True)
class Venv:
    """A virtual environment, and a working folder outside of the repository.

    Attributes:
        folder: The environment.
        work: The working folder.
    """

    folder: Path
    work: Path

    @classmethod
    def create(cls, base: Path, *wheels: Path) -> Venv:
        venv = cls(base / "venv", base / "work")
        venv.work.mkdir()
        (venv.work / "settings.toml").touch()
        run([sys.executable, "-m", "venv", str(venv.folder)], base)
        run([str(venv.program("python")), "-m", "pip", "install", "-q", *map(str, wheels)], base)
        return venv

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    def synap(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``synap``, without the settings of the machine."""
        environment = ENVIRONMENT | {"SYNAP_CONFIG": str(self.work / "settings.toml")} | variables
        command = [str(self.program("synap")), *arguments]
        return subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False)

    def python(self, code: str) -> str:
        """What a program prints."""
        return run([str(self.program("python")), "-c", code], self.work).strip()

    def plugins(self) -> list[dict[str, str]]:
        """What ``synap plugins`` lists."""
        result = self.synap("plugins", "--json")
        assert result.returncode == 0, result.stderr
        records: list[dict[str, str]] = json.loads(result.stdout)
        return records

    def check_numbers(self, out: str) -> None:
        """Convert the model in the working folder into a new folder, and compare what it computes."""
        converted = self.synap("convert", "--model", "m.toy", "--target", "toyboard", "--out-dir", out)
        assert (converted.returncode, converted.stderr) == (0, "")
        executed = self.synap("run", "-m", f"{out}/model.synap", "in.npy", "--save-outputs", f"{out}/o.npz")
        assert (executed.returncode, executed.stderr) == (0, "")
        with np.load(self.work / out / "o.npz") as outputs:
            np.testing.assert_array_equal(outputs["z"], THREE_X)


def run(command: list[str], folder: Path) -> str:
    """Run a command that has to succeed; returns what it prints."""
    result = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def build_wheel(project: Path, base: Path) -> tuple[Path, Path]:
    """Build a wheel of a copy: building in the repository leaves files there, and picks up old ones.

    Returns:
        The copy and the wheel.
    """
    copy = base / f"copy-of-{project.name}"
    skip = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out")
    shutil.copytree(project, copy, ignore=skip)
    wheels = base / f"wheel-of-{project.name}"
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(wheels), str(copy)], base)
    (wheel,) = wheels.iterdir()
    return copy, wheel


def packaged(wheel: Path) -> set[str]:
    """Names of the files in a wheel, less its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def package_files(*roots: Path) -> set[str]:
    """Names of all files of the packages in some folders, as a wheel should hold them."""
    packages = [(root, file.parent) for root in roots for file in root.glob("*/__init__.py")]
    files = [(root, path) for root, package in packages for path in package.rglob("*")]
    return {path.relative_to(root).as_posix() for root, path in files if path.is_file() and path.suffix != ".pyc"}


def check_refused(result: subprocess.CompletedProcess[str], reason: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(rf"Error: [^\n]*{re.escape(reason)}[^\n]*\n", result.stderr)


def install_broken_plugin(venv: Venv) -> None:
    site = Path(venv.python("import sysconfig; print(sysconfig.get_path('purelib'))"))
    info = site / "broken-0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.9\n")
    (info / "entry_points.txt").write_text("[synap.plugins]\nfrontend-broken = broken_plugin\n")
    (site / "broken_plugin.py").write_text('raise RuntimeError("no licence found")\n')


@pytest.mark.slow
@pytest.mark.timeout(1800)  # installs the dependencies
def test_installed_distribution_works_beside_the_installed_toolkit(tmp_path: Path) -> None:
    toolkit, toolkit_wheel = build_wheel(ROOT, tmp_path)
    toy, toy_wheel = build_wheel(TOY, tmp_path)
    # Equality: every module and py.typed is there, and nothing of tests or examples.
    core = {name for name in package_files(toolkit) if name.startswith("synap_core/")}
    plugins = package_files(*(toolkit / "plugins").iterdir())
    assert packaged(toolkit_wheel) == core | plugins
    assert packaged(toy_wheel) == package_files(toy / "src")
    tops = {name.partition("/")[0] for name in core | plugins}
    assert {f"{top}/py.typed" for top in tops} <= packaged(toolkit_wheel)

    venv = Venv.create(tmp_path, toolkit_wheel, toy_wheel)
    places = venv.python("import synap_core, synap_toy; print(synap_core.__file__, synap_toy.__file__)").split()
    assert all(Path(place).is_relative_to(venv.folder) for place in places)
    listed = [(r["name"], r["version"], r["state"]) for r in venv.plugins() if r["distribution"] == "synap-toy"]
    assert listed == [(name, PROJECT["version"], "enabled") for name in sorted(ENTRY_POINTS)]
    assert venv.synap("hello").stdout == "Hello from synap-toy\n"

    (venv.work / "m.toy").write_text(MODEL)
    np.save(venv.work / "in.npy", X)
    venv.check_numbers("out")

    # The engine computes in a child process: here it is not even imported.
    load = "import sys, numpy, synap_core; network = synap_core.Network('out/model.synap')"
    show = "print(*network.predict([numpy.load('in.npy')])[0][0], 'synap_toy.engine' in sys.modules)"
    assert venv.python(f"{load}; {show}") == "3.0 -6.0 1.5 12.0 False"

    arguments = ("convert", "--model", "m.toy", "--target", "toyboard", "--out-dir", "not-made")
    refused = venv.synap(*arguments, SYNAP_DISABLE_PLUGINS="frontend-toy")
    check_refused(refused, "plugin 'frontend-toy' is disabled by SYNAP_DISABLE_PLUGINS")
    refused = venv.synap("run", "-m", "out/model.synap", "in.npy", SYNAP_DISABLE_PLUGINS="runtime-toy")
    check_refused(refused, "runtime 'toy' is not available; plugin 'runtime-toy' is disabled by SYNAP_DISABLE_PLUGINS")

    install_broken_plugin(venv)
    records = {record["name"]: record for record in venv.plugins()}
    broken = records.pop("frontend-broken")
    assert (broken["distribution"], broken["version"], broken["state"]) == ("broken", "0.9", "failed")
    assert broken["reason"] == "RuntimeError: no licence found"
    assert {record["state"] for record in records.values()} == {"enabled"}
    venv.check_numbers("again")
