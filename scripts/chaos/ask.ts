type Answer = {
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of the document
  data?: any;
  errors?: { message: string; extensions?: Record<string, unknown> }[];
};

/** A GraphQL request by POST. @throws where no answer came within that many milliseconds */
export async function ask(
  url: string,
  query: string,
  variables: object,
  token: string,
  within: number,
): Promise<Answer> {
  const response = await fetch(`${url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(within),
  });
  return (await response.json()) as Answer;
}
