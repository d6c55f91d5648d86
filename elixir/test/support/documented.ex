defmodule Documented do
  @moduledoc false

  @doc "Compiles the modules in the documentation of a module, inside another one, so that they are not those of tests."
  def modules(module, inside) do
    with {:docs_v1, _, :elixir, _, %{"en" => doc}, _, _} <- Code.fetch_docs(module),
         code when code != "" <- definitions(doc) do
      [_ | _] = Code.compile_string("defmodule #{inspect(inside)} do\n#{code}\nend")
    else
      _ -> []
    end
  end

  defp definitions(doc) do
    doc
    |> String.split("\n")
    |> Enum.chunk_by(&(&1 == "" or String.starts_with?(&1, "    ")))
    |> Enum.map(&Enum.join(&1, "\n"))
    |> Enum.filter(&(&1 =~ ~r/^\s*    defmodule /))
    |> Enum.join("\n")
  end
end
