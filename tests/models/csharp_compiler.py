"""A compiler of C# that is made of packages: Roslyn from npm's @autorest/csharp, run by the .NET of dotnetcore2.

    python -m tests.models.csharp_compiler ROSLYN PROGRAM.cs ...

It writes ``PROGRAM.dll`` beside each source. That .NET is the last one in a package: it has the API that the calls use,
and Roslyn has the language, C# 10.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dotnetcore2
from clr_loader import get_coreclr
from pythonnet import set_runtime

DOTNET = Path(dotnetcore2.__file__).parent / "bin"
_CONFIGURATION = {
    "runtimeOptions": {
        "framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"},
        "configProperties": {"System.Globalization.Invariant": True},
    }
}
#: What the SDK puts before every program of a console.
_IMPLICIT = ("", ".Collections.Generic", ".IO", ".Linq", ".Net.Http", ".Threading", ".Threading.Tasks")


def main() -> None:
    roslyn, *sources = map(Path, sys.argv[1:])
    configurations = [source.with_suffix(".runtimeconfig.json") for source in sources]
    for file in configurations:
        file.write_text(json.dumps(_CONFIGURATION))
    set_runtime(get_coreclr(runtime_config=str(configurations[0]), dotnet_root=str(DOTNET)))
    import clr

    for library in ("Microsoft.CodeAnalysis", "Microsoft.CodeAnalysis.CSharp"):
        clr.AddReference(str(roslyn / f"{library}.dll"))
    for source in sources:
        _compile(source)


def _compile(source: Path) -> None:
    """Compile a source; end the program with the errors if it has some."""
    from Microsoft.CodeAnalysis import DiagnosticSeverity, MetadataReference, OutputKind, SyntaxTree
    from Microsoft.CodeAnalysis.CSharp import CSharpCompilation, CSharpCompilationOptions, CSharpSyntaxTree
    from System import Array
    from System.IO import File
    from System.Threading import CancellationToken

    implicit = "".join(f"global using global::System{namespace};\n" for namespace in _IMPLICIT)
    trees = [CSharpSyntaxTree.ParseText(text) for text in (implicit, source.read_text())]
    [framework] = DOTNET.glob("shared/Microsoft.NETCore.App/*")
    references = [MetadataReference.CreateFromFile(str(file)) for file in framework.glob("System*.dll")]
    compilation = CSharpCompilation.Create(
        source.stem,
        Array[SyntaxTree](trees),
        Array[MetadataReference](references),
        CSharpCompilationOptions(OutputKind.ConsoleApplication),
    )
    output = File.Create(str(source.with_suffix(".dll")))
    result = compilation.Emit(output, *[None] * 9, CancellationToken(False))
    output.Dispose()
    if not result.Success:
        errors = [found.ToString() for found in result.Diagnostics if found.Severity == DiagnosticSeverity.Error]
        sys.exit("\n".join([f"{source}:", *errors]))


if __name__ == "__main__":
    main()
