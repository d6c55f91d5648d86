# Evaluates blocks as iex does, one after the other, with the bindings of those before. Reads names
# of files from standard input. A line "#=> ..." ends a piece of a block and shows the piece's value.
# Prints what a block prints; "=== value LINE", the value and "===" for each piece whose last line is
# LINE; and "=== end" with "ok" or what went wrong.
defmodule Blocks do
  def loop(binding) do
    case IO.gets("") do
      :eof ->
        :ok

      line ->
        lines = line |> String.trim() |> File.read!() |> String.split("\n")
        {outcome, binding} = pieces(Enum.with_index(lines, 1), [], binding, "ok")
        IO.puts("\n=== end " <> outcome)
        loop(binding)
    end
  end

  defp pieces([], open, binding, outcome), do: evaluate(open, binding, outcome)

  defp pieces([{"#=> " <> _, _} | rest], open, binding, outcome) do
    {outcome, binding} = evaluate(open, binding, outcome)
    pieces(rest, [], binding, outcome)
  end

  defp pieces([line | rest], open, binding, outcome), do: pieces(rest, [line | open], binding, outcome)

  defp evaluate([], binding, outcome), do: {outcome, binding}

  defp evaluate([{_, last} | _] = open, binding, outcome) do
    [{_, first} | _] = lines = Enum.reverse(open)
    code = Enum.map_join(lines, "\n", &elem(&1, 0))

    try do
      {value, binding} = Code.eval_string(code, binding, line: first)
      value(last, inspect(value, pretty: true))
      {outcome, binding}
    rescue
      error ->
        value(last, "** (#{inspect(error.__struct__)}) #{Exception.message(error)}")
        {"raised #{last} " <> outcome, binding}
    end
  end

  defp value(line, text), do: IO.puts("\n=== value #{line}\n#{text}\n===")
end

Blocks.loop([])
